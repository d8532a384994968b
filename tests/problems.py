"""Small real problems that several tests share."""

from collections.abc import Collection
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits

from erm.fit import Fit, NewtonFit
from erm.softmax import SoftmaxRisk, with_bias
from retrain.weights import LeaveOneOutWeights, WeightCache


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


def read_all(cache: WeightCache, wanted: Collection[int] | None = None) -> LeaveOneOutWeights | None:
    """All that a cache holds of what is wanted, in one, by ascending index; None when that is nothing."""
    parts = list(cache.parts(wanted))
    if not parts:
        return None
    names = LeaveOneOutWeights.__dataclass_fields__
    joined = LeaveOneOutWeights(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )
    return joined.select(np.argsort(joined.indices))
