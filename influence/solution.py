"""What an inverse-Hessian-vector-product (iHVP) solver is, what it returns, and how it says that it failed.

One convention everywhere: s solves (H + damping·I) s = v, where H is the Hessian of R(θ) at θ̂, L2 inside.
A solver that fails returns no numbers: its value is NaN, and its message states cause, evidence and remedy.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Protocol

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from erm.risk import Curvature

Damping = Annotated[float, Field(ge=0, allow_inf_nan=False, description="solve with H + damping·I")]
"""Added to the diagonal of H."""


class Status(StrEnum):
    """How a solver ended."""

    CONVERGED = "converged"
    """The true residual is within the tolerance, or at rounding for a factorisation."""
    FINISHED = "finished"
    """A computation of fixed length ran to its end; it does not aim at a residual."""
    NOT_CONVERGED = "not_converged"
    DIVERGED = "diverged"
    REFUSED = "refused"
    SINGULAR = "singular"

    @property
    def failed(self) -> bool:
        """True when the solution holds no numbers."""
        return self in CAUSES


CAUSES = {
    Status.NOT_CONVERGED: "The solver ended above its tolerance",
    Status.DIVERGED: "The recursion grows without bound: its scale is too small for the batch Hessians",
    Status.REFUSED: "The recursion would most likely grow without bound, so it was not started",
    Status.SINGULAR: "H + damping·I is not positive definite, so (H + damping·I)⁻¹v is not defined",
}
"""Why there are no numbers. Evidence and remedy, with numbers of their own, follow in the message."""


RESIDUAL = "relative residual ‖v − As‖/‖v‖"
ITERATE_NORM = "largest ‖hₜ‖ of the repeats"


@dataclass(frozen=True, kw_only=True, slots=True)
class Solution:
    """s ≈ (H + damping·I)⁻¹v, and how far to trust it.

    Raises:
        ValueError: the status is no failure, and the value holds NaN or infinity.
    """

    value: Float[Tensor, " p"]
    """s, or NaN in every entry when `status.failed`."""
    status: Status
    message: str
    """What happened, in a sentence; for a failure its cause, evidence and remedy."""
    repeats: Float[Tensor, "r p"] | None = None
    """Independent estimates whose mean is `value`; None for a deterministic solver and after a failure."""
    relative_residual: float | None = None
    """True ‖v − (H + damping·I)s‖/‖v‖ of the last iterate (0 when v = 0); None where none was computed."""
    num_hvps: float = 0.0
    """Hessian-vector products taken for this v, estimates, checks and residuals included, and for the first v
    those made once for all; one over b of the n examples counts b/n. Explicit matrices are no products."""
    trace: tuple[tuple[int, float], ...] = ()
    """(step, value), the value being what `traced` names."""
    traced: str = RESIDUAL

    def __post_init__(self) -> None:
        if not self.status.failed and not torch.isfinite(self.value).all():
            raise ValueError(
                f"a solution with status {self.status} whose value holds NaN or infinity; "
                "a solver that fails returns influence.solution.failure(…)"
            )


Solve = Callable[[Float[Tensor, " p"]], Solution]
Progress = Callable[[int, int], None]
"""Called with the steps done and the most there can be; a preparation counts from the start again."""


class Solver(Protocol):
    """A frozen dataclass whose fields are the settings.

    One that is there for comparison, and not to predict, says so by a class attribute `baseline = True`: what
    it gets wrong then condemns no figure.
    """

    def at(self, curvature: Curvature, progress: Progress | None = None) -> Solve:
        """Prepare once for the Hessian at one θ̂; the result then answers one v at a time.

        Raises:
            ValueError: (from the result) v holds NaN or infinity.
        """
        ...


def is_baseline(solver: object) -> bool:
    """Whether a solver declares that it is there for comparison."""
    return getattr(solver, "baseline", False) is True


def failure(
    status: Status,
    v: Float[Tensor, " p"],
    *,
    evidence: str,
    remedy: str,
    relative_residual: float | None = None,
    num_hvps: float = 0.0,
    trace: tuple[tuple[int, float], ...] = (),
    traced: str = RESIDUAL,
) -> Solution:
    """A solution without numbers, whose message a user can act on."""
    return Solution(
        value=torch.full_like(v, math.nan),
        status=status,
        message=f"{CAUSES[status]}: {evidence}. Remedy: {remedy}.",
        relative_residual=relative_residual,
        num_hvps=num_hvps,
        trace=trace,
        traced=traced,
    )


def definiteness_remedy(damping: float, smallest_curvature: float = 0.0, *, convex: bool = True) -> str:
    """The settings that make H + damping·I positive definite.

    Args:
        damping: the damping with which it is not.
        smallest_curvature: the least pᵀ(H + damping·I)p/pᵀp met; if negative, twice its size is added.
        convex: whether the model proves its risk to be; else θ̂ may be a saddle.
    """
    raised = damping + max(0.01, -2 * smallest_curvature)
    minimum = "" if convex else "train to a minimum (`fit=local retrain=default`), or "
    return (
        f"{minimum}add L2 (`model.l2=0.01`) or damping (`influence.damping={raised:.2g}`), and more of it "
        "until it exceeds the size of every negative eigenvalue, if H has any"
    )


def check_right_hand_side(v: Float[Tensor, " p"]) -> None:
    """Raise a ValueError when v is not finite: no solver can make numbers of it."""
    if not torch.isfinite(v).all():
        raise ValueError("v holds NaN or infinity, so H⁻¹v has no meaning: check θ̂ and the test example")


def damped_product(
    curvature: Curvature, damping: float
) -> Callable[[Float[Tensor, " p"]], Float[Tensor, " p"]]:
    """u ↦ (H + damping·I) u."""
    return lambda u: curvature.product(u[None])[0] + damping * u


def small_sample_factor(num_repeats: int) -> float:
    """What widens the standard error of a mean over few repeats until ±2 of them cover 95 % (Student's t)."""
    # Imported here, since scipy takes longer to import than most solvers run.
    from scipy.special import ndtr, stdtrit

    return float(stdtrit(num_repeats - 1, ndtr(2.0))) / 2


def rounding(v: Float[Tensor, " p"]) -> float:
    """Relative rounding error of an inner product of p terms, which grows as √p, with a margin of 4."""
    return 4 * math.sqrt(len(v)) * torch.finfo(v.dtype).eps


def relative_norm(residual: Float[Tensor, " p"], v: Float[Tensor, " p"]) -> float:
    """‖residual‖/‖v‖, and ‖residual‖ itself when v = 0, where s = 0 is exact."""
    return float(residual.norm() / (v.norm() if v.any() else 1.0))
