"""What is wrong with scores: the names of faults, in words, and what a change does to the scores."""

from dataclasses import dataclass

FACTOR_N = "factor_n"
FACTOR_ONE_OVER_N = "factor_one_over_n"
FACTOR = "factor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that is wrong, and the change that mends it."""

    name: str
    words: str
    """What is wrong and what to do, one line."""
    value: float | None = None
    """Its size where it has one: rows, or the factor by which scores are too large."""


SIGN = Fault(
    name="sign",
    words="the sign is turned: removing a point changes the loss by −I_up,loss/n. Multiply by −1",
)
TRANSPOSE = Fault(name="transpose", words="rows are training points. Transpose: rows are test points")
ROWS_BY_CLASS = Fault(
    name="rows_by_class",
    words="columns are in the order of the classes. Undo the stable sort by label",
)
RANKS_ONLY = Fault(
    name="ranks_only",
    words="only the order of the scores follows the truth: compare Spearman's r and the overlap, no sizes",
)
L2_TRAIN = Fault(
    name="l2_train",
    words="all scores of a test point are off by one constant, as if L2 were missing from the training "
    "gradient: ∇L(zᵢ) has λθ̂ in it, and then the scores of all training points add up to 0",
)
L2_TEST = Fault(
    name="l2_test",
    words="the test gradient has L2 in it: the loss that is explained, ℓ(z_test), is cross-entropy alone",
)


def rows_shifted(shift: int, width: int, num_train: int) -> Fault:
    more = f" (the file has {width - num_train:,} rows more than the truth)" if width > num_train else ""
    return Fault(
        name="rows_shifted",
        words=f"training point i stands in column i {'+' if shift > 0 else '−'} {abs(shift):,}{more}. "
        "Are other examples in front, such as validation images?",
        value=float(shift),
    )


def factor(too_large: float, num_train: int, named: str) -> Fault:
    size = max(too_large, 1 / too_large)
    words = {
        FACTOR_N: f"scores are n = {num_train:,} times too large: divide by n, as removing is a step of −1/n",
        FACTOR_ONE_OVER_N: f"scores are n = {num_train:,} times too small: n is divided by twice. "
        "Multiply by n",
        FACTOR: f"scores are {size:.3g} times too {'large' if too_large > 1 else 'small'}: a factor is "
        "forgotten, such as a scale, a mean instead of a sum, or damping",
    }
    return Fault(name=named, words=words[named], value=too_large)
