"""The usual ground truth of groups, to compare with: models trained by SGD for so many passes, several seeds.

They start from nothing, see their examples in another order with every seed, and stop after a number of
passes: so they differ from their minimisers by noise, and by what the passes were too few for.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr

from erm.sgd import StochasticFit
from erm.softmax import SoftmaxRisk
from repro.listener import ProgressReport
from repro.session import Session
from retrain.removal import Removal

PASSES = 20
"""Over the examples that a model keeps."""


@dataclass(frozen=True, kw_only=True)
class NoisyScore:
    """Spearman's r of one method and test point, had SGD's losses been taken for the truth."""

    one_seed: float
    """Mean over the seeds, each by itself."""
    lowest: float
    """Of a seed."""
    highest: float
    mean_of_seeds: float
    """Where a model's loss is its mean over the seeds, as it usually is."""


def sgd_losses(session: Session, removals: list[Removal], seeds: int) -> Float[np.ndarray, "s t B"]:
    """Test losses of models without the removals, as SGD leaves them, by seed and test point.

    Args:
        session: has θ̂'s examples, λ and test points.
        removals: what each model leaves out.
        seeds: how often each is trained.
    """
    model = session.model()
    risk = session.risk_on(model.theta.device)
    assert isinstance(risk, SoftmaxRisk)
    x_test, y_test = session.test_examples(session.targets(model))
    y_test = y_test.to(risk.x.device)
    found = np.empty((seeds, len(y_test), len(removals)))
    with session.progress("training by SGD") as tell:
        for column, rows in enumerate(removals):
            kept = torch.ones(risk.num_examples, dtype=torch.bool, device=risk.x.device)
            kept[list(rows)] = False
            left = risk.subset(torch.nonzero(kept).flatten())
            if session.config["retrain"]["l2_scaling"] == "sum":
                left = replace(left, l2=risk.l2 * risk.num_examples / left.num_examples)
            for seed in range(seeds):
                # No two models see their examples in one order.
                fit = _fit(left.num_examples, seed * len(removals) + column)
                found[seed, :, column] = risk.losses(fit(left).theta, x_test, y_test).cpu().numpy()
            tell(ProgressReport(stage="SGD", done=column + 1, total=len(removals), unit="models"))
    return found


def noisy_score(predicted: Float[np.ndarray, " B"], losses: Float[np.ndarray, "s B"]) -> NoisyScore:
    """Score predictions by the losses of each seed, and by their mean."""
    by_seed = [float(spearmanr(predicted, own).statistic) for own in losses]
    return NoisyScore(
        one_seed=float(np.mean(by_seed)),
        lowest=min(by_seed),
        highest=max(by_seed),
        mean_of_seeds=float(spearmanr(predicted, losses.mean(axis=0)).statistic),
    )


def _fit(num_examples: int, seed: int) -> StochasticFit:
    usual = StochasticFit()
    steps = PASSES * -(-num_examples // usual.batch_size)
    return StochasticFit(steps=steps, seed=seed)
