"""The examples that the report shows, test points and who matters for them, as pictures or as features."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from diagnosis.figure import FigureVerdict, Retrained, judge_figure
from diagnosis.figure import Method as JudgedMethod
from plots.ranking import most_harmful, most_helpful
from report.content import Example, Method, TestPoint
from report.images import grey_levels, png_uri
from repro.page.retraining import Retraining
from repro.records.influence import declared_baseline
from repro.stages.plot import Plotted
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
    def of(cls, plotted: Plotted) -> "Pictures":
        x = plotted.dataset.x_train
        return cls(plotted.dataset.image_shape, float(x.min()), float(x.max()))

    def __call__(self, features: Float[np.ndarray, " features"]) -> str | None:
        if self.shape is None:
            return None
        return png_uri(grey_levels(features[None], self.low, self.high, self.shape)[0])

    def by_index(self, x: Float[np.ndarray, "n features"], indices: Iterable[int]) -> dict[int, str]:
        """Pictures of these rows; empty for data that are no images."""
        if self.shape is None:
            return {}
        return {
            index: png_uri(grey_levels(x[[index]], self.low, self.high, self.shape)[0]) for index in indices
        }


def describe_test_point(
    plotted: Plotted, retraining: Retraining, target: int, titles: dict[str, str], pictures: Pictures
) -> TestPoint:
    """All that the page says of one test point."""
    dataset = plotted.dataset
    x, label = dataset.x_test[target], int(dataset.y_test[target])
    logits = _logits(plotted, x)
    shares = torch.softmax(logits, dim=0)
    ranked = [int(k) for k in shares.argsort(descending=True)]
    features = [] if pictures.shape else _telling_features(plotted, x, label, ranked)
    rows = plotted.table[plotted.table["test_index"] == target]
    summary = plotted.of_test(target)
    verdict = _judge(plotted, retraining, rows, target)
    return TestPoint(
        index=target,
        label=str(label),
        predicted=str(ranked[0]),
        probabilities=tuple((str(k), float(shares[k])) for k in ranked[:SHOWN_CLASSES]),
        loss=float(torch.logsumexp(logits, 0) - logits[label]),
        image=pictures(x),
        feature_names=tuple(f"feature {j}" for j in features),
        features=tuple(float(x[j]) for j in features),
        holds=verdict.passed,
        summary=verdict.summary,
        methods=[
            Method(
                title=titles.get(found.method, found.method),
                verdict=found,
                seconds=float(summary["methods"][found.method]["seconds"]),
            )
            for found in verdict.methods
        ],
        truth=verdict.truth,
        num_ranked=rows["train_index"].nunique(),
        helpful=_examples(plotted, most_helpful(rows), features, pictures),
        harmful=_examples(plotted, most_harmful(rows), features, pictures),
    )


def _logits(plotted: Plotted, x: Float[np.ndarray, " features"]) -> torch.Tensor:
    """W x at θ̂, on the CPU."""
    risk = plotted.risk
    features = risk.features(torch.from_numpy(x[None]))
    logits: torch.Tensor = (features @ risk.weights(plotted.model.theta).T)[0].cpu()
    return logits


def _telling_features(
    plotted: Plotted, x: Float[np.ndarray, " features"], label: int, ranked: list[int]
) -> list[int]:
    """The features that count most for or against the label: largest |xⱼ(W_label − W_rival)ⱼ|.

    The rival is the class it was taken for, or the next most probable one where it was taken rightly.
    """
    rival = next(k for k in ranked if k != label)
    weights = plotted.risk.weights(plotted.model.theta).cpu().numpy()[:, : len(x)]
    shares = np.abs(x * (weights[label] - weights[rival]))
    return [int(j) for j in np.argsort(-shares, kind="stable")[:SHOWN_FEATURES]]


def _judge(plotted: Plotted, retraining: Retraining, rows: pd.DataFrame, target: int) -> FigureVerdict:
    """The same judge that `repro diagnose` asks."""
    summary, models = plotted.of_test(target), set(with_null_control(leave_one_out(rows["train_index"])))
    retrained = Retrained(
        null_control=summary["null_control"],
        null_certificate=summary["null_control_certificate"],
        models=len(models),
        missed=len(models & retraining.missed),
        amplification=retraining.amplification,
    )
    methods = [
        JudgedMethod(name=found.method, baseline=declared_baseline(found.record))
        for found in plotted.predictions
    ]
    return judge_figure(rows, retrained, methods)


def _examples(
    plotted: Plotted, ranked: pd.DataFrame, features: list[int], pictures: Pictures
) -> tuple[Example, ...]:
    x = plotted.dataset.x_train
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
