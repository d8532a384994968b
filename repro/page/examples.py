"""The examples that the report shows, test points and who matters for them, as pictures or as features."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from diagnosis.figure import FigureVerdict, judge_figure
from diagnosis.figure import Method as JudgedMethod
from diagnosis.truth import Retrained
from erm.dataset import Dataset
from plots.ranking import most_harmful, most_helpful
from report.content import Example, Method, TestPoint
from report.images import grey_levels, png_uri
from repro.agreement import JoinedChanges
from repro.page.retraining import Retraining
from repro.predictions import Prediction
from repro.records.summary import PointSummary
from retrain.removal import leave_one_out
from retrain.retrainer import with_null_control

SHOWN_CLASSES = 3
SHOWN_FEATURES = 8
"""Columns of the gallery's table for data that are no images."""


@dataclass(frozen=True)
class Pictures:
    """Turns examples into pictures on the grey scale of the training data; None where they are no images."""

    shape: tuple[int, int] | None
    low: float
    high: float

    @classmethod
    def of(cls, dataset: Dataset) -> "Pictures":
        x = dataset.x_train
        return cls(dataset.image_shape, float(x.min()), float(x.max()))

    def __call__(self, features: Float[np.ndarray, " features"]) -> str | None:
        if self.shape is None:
            return None
        return png_uri(grey_levels(features[None], self.low, self.high, self.shape)[0])

    def by_index(self, x: Float[np.ndarray, "n features"], indices: Iterable[int]) -> dict[int, str]:
        """Pictures of these rows; empty for data that are no images."""
        pictures = {index: self(x[index]) for index in indices}
        return {index: picture for index, picture in pictures.items() if picture is not None}


def describe_test_point(
    dataset: Dataset,
    joined: JoinedChanges,
    retraining: Retraining,
    target: int,
    titles: dict[str, str],
    pictures: Pictures,
) -> TestPoint:
    """All that the page says of one test point."""
    x, label = dataset.x_test[target], int(dataset.y_test[target])
    losses = _losses_of_labels(joined, torch.from_numpy(x), dataset.num_classes).cpu()
    shares, ranked = (-losses).exp(), [int(k) for k in losses.argsort()]
    features = [] if pictures.shape else _telling_features(joined, x, label, ranked)
    rows = joined.table[joined.table["test_index"] == target]
    summary = joined.summary[target]
    verdict = _judge(joined, retraining, rows, target)
    return TestPoint(
        index=target,
        label=str(label),
        predicted=str(ranked[0]),
        probabilities=tuple((str(k), float(shares[k])) for k in ranked[:SHOWN_CLASSES]),
        loss=float(losses[label]),
        image=pictures(x),
        feature_names=tuple(f"feature {j}" for j in features),
        features=tuple(float(x[j]) for j in features),
        holds=verdict.passed,
        summary=verdict.summary,
        methods=methods_shown(verdict, summary, titles),
        truth=verdict.truth,
        num_ranked=rows["train_index"].nunique(),
        helpful=_examples(dataset, most_helpful(rows), features, pictures),
        harmful=_examples(dataset, most_harmful(rows), features, pictures),
    )


def _losses_of_labels(
    joined: JoinedChanges, x: Float[Tensor, " features"], num_classes: int
) -> Float[Tensor, " K"]:
    """The loss of an example under every label: cross-entropy, so minus the logarithm of a probability."""
    labels = torch.arange(num_classes)
    return joined.risk.losses(joined.model.theta, x.expand(num_classes, -1), labels)


def _telling_features(
    joined: JoinedChanges, x: Float[np.ndarray, " features"], label: int, ranked: list[int]
) -> list[int]:
    """The features that count most for or against the label: largest |xⱼ ∂(ℓ_rival − ℓ_label)/∂xⱼ|.

    The rival is the class it was taken for, or the next most probable one where it was taken rightly. For
    softmax regression this is |xⱼ(W_label − W_rival)ⱼ|.
    """
    rival = next(k for k in ranked if k != label)
    example = torch.from_numpy(x).clone().requires_grad_()
    losses = _losses_of_labels(joined, example, max(ranked) + 1)
    (slope,) = torch.autograd.grad(losses[rival] - losses[label], example)
    shares = np.abs(x * slope.cpu().numpy())
    return [int(j) for j in np.argsort(-shares, kind="stable")[:SHOWN_FEATURES]]


def _judge(joined: JoinedChanges, retraining: Retraining, rows: pd.DataFrame, target: int) -> FigureVerdict:
    """The same judge that `repro diagnose` asks."""
    summary, models = joined.summary[target], set(with_null_control(leave_one_out(rows["train_index"])))
    retrained = Retrained(
        null_control=summary.null_control,
        null_certificate=summary.null_control_certificate,
        models=len(models),
        missed=len(models & retraining.missed),
        amplification=retraining.amplification,
    )
    return judge_figure(rows, retrained, methods_judged(joined.predictions))


def methods_judged(predictions: Sequence[Prediction]) -> list[JudgedMethod]:
    """What the judge has to know of the methods."""
    return [JudgedMethod(name=found.method, baseline=found.record.declares_baseline) for found in predictions]


def methods_shown(verdict: FigureVerdict, summary: PointSummary, titles: Mapping[str, str]) -> list[Method]:
    """The rows of the table of a test point."""
    return [
        Method(
            title=titles.get(found.method, found.method),
            verdict=found,
            seconds=summary.methods[found.method].seconds,
        )
        for found in verdict.methods
    ]


def _examples(
    dataset: Dataset, ranked: pd.DataFrame, features: list[int], pictures: Pictures
) -> tuple[Example, ...]:
    x = dataset.x_train
    return tuple(
        Example(
            train_index=int(index),
            label=str(int(label)),
            actual_change=float(change),
            certificate=float(certificate),
            image=pictures(x[int(index)]),
            features=tuple(float(x[int(index), j]) for j in features),
        )
        for index, label, change, certificate in ranked[
            ["train_index", "label", "actual_change", "certificate"]
        ].itertuples(index=False)
    )
