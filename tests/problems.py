"""Small real problems that several tests share."""

from collections.abc import Callable, Collection, Iterable
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits

from erm.fit import Fit, NewtonFit
from erm.softmax import SoftmaxRisk, with_bias
from parallel.group import ALONE, Group
from retrain.certified_softmax import CertifiedSoftmax
from retrain.removal import Removal, RemovalBatch
from retrain.settings import RetrainingProgress, RetrainSettings, SolvedNow
from retrain.weight_file import RetrainedWeights
from retrain.weights import WeightCache


def digits_risk(num_train: int, *, l2: float = 0.01, bias: bool = False) -> SoftmaxRisk:
    """Softmax regression on the first `num_train` of scikit-learn's digits, pixels / 16, float64."""
    data = load_digits()
    x = torch.from_numpy(data.data[:num_train] / 16)
    y = torch.from_numpy(data.target[:num_train]).long()
    return SoftmaxRisk(x=with_bias(x, bias), y=y, num_classes=10, l2=l2, bias=bias)


def digits_test_points(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The last `count` digits, which no training set above holds."""
    data = load_digits()
    return torch.from_numpy(data.data[-count:] / 16), torch.from_numpy(data.target[-count:]).long()


@cache
def fitted_digits(num_train: int, l2: float = 0.01, bias: bool = False) -> tuple[SoftmaxRisk, Fit]:
    """The risk and its converged minimiser."""
    risk = digits_risk(num_train, l2=l2, bias=bias)
    fit = NewtonFit(tolerance=1e-11)(risk)
    assert fit.converged
    return risk, fit


def solve_missing(
    risk: SoftmaxRisk,
    theta: torch.Tensor,
    removals: Iterable[Removal],
    cache: WeightCache,
    settings: RetrainSettings,
    report: Callable[[RetrainingProgress], None],
    group: Group = ALONE,
) -> SolvedNow:
    """Solve the models of softmax regression that a cache lacks."""
    retrainer = CertifiedSoftmax(risk=risk, theta=theta, cache=cache, settings=settings, group=group)
    return retrainer.solve(removals, report)


def batch_of(*removals: Removal) -> RemovalBatch:
    """Removals as a batch on the CPU."""
    return RemovalBatch(removals, torch.device("cpu"))


def read_all(cache: WeightCache, wanted: Collection[Removal] | None = None) -> RetrainedWeights | None:
    """All that a cache holds of what is wanted, in one, by ascending removal; None when that is nothing."""
    parts = list(cache.parts(wanted))
    if not parts:
        return None
    removals = tuple(rows for part in parts for rows in part.removals)
    numbers = {name: np.concatenate([part.numbers()[name] for part in parts]) for name in parts[0].numbers()}
    joined = RetrainedWeights(removals=removals, local=None, **numbers)
    return joined.select(np.array(sorted(range(len(removals)), key=removals.__getitem__)))
