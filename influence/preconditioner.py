"""What makes the iterations of conjugate gradient fewer, by the word that a configuration has for it.

An operator r ↦ M⁻¹r for an M near H + damping·I; `CG.at` takes any other as well.
"""

from typing import Literal

from erm.kronecker import Precondition, identity, kronecker_inverse
from erm.risk import Curvature

Name = Literal["none", "kronecker"]


def by_name(name: Name, curvature: Curvature, damping: float, *, sample: int) -> Precondition:
    """The operator of that name.

    Args:
        name: "kronecker": see `kronecker_inverse`, which for a curvature without such factors is `identity`;
            "none": `identity`.
        curvature: H.
        damping: added to it.
        sample: random examples that it is made from; all if there are fewer.
    """
    return kronecker_inverse(curvature, damping, sample=sample) if name == "kronecker" else identity
