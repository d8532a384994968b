"""LiSSA that chooses its own settings and gets rid of most of its noise by a control variate.

Plain LiSSA draws a batch a step and is left with noise that only more repeats reduce, as one over their root.
Here the recursion of an epoch runs on the difference from an anchor a, whose full product is known:

    h₀ = a,  hₜ₊₁ = hₜ + (v − A a − A_B(hₜ − a))/scale,  a ← h_depth

with A = H + damping·I and A_B its value on a batch. Its mean is the recursion with A itself, and its noise is
in proportion to hₜ − a, so it shrinks from epoch to epoch along with the error (the control variate of SVRG:
Johnson & Zhang, 2013). Every repeat has anchors and batches of its own, so the repeats stay independent and
their spread is a standard error.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from erm.lowest import lowest
from erm.risk import Curvature
from erm.settings import Count, Seed, check_settings
from influence.counting import CountedCurvature
from influence.error_bound import relative_error_bound
from influence.lissa import CHECK_EVERY, LiSSA, has_diverged
from influence.solution import (
    Damping,
    Progress,
    Solution,
    Solve,
    Status,
    check_right_hand_side,
    damped_product,
    definiteness_remedy,
    failure,
    relative_norm,
    small_sample_factor,
)
from influence.threads import threads_for

MODE_LEFT = 0.1
"""Share of the slowest mode that an epoch leaves: its depth follows from that."""
MAX_EPOCHS = 12
MARGIN = 1.1
"""Times the largest eigenvalue found: power iterations and sampled batches fall short of the largest."""
GROWTH = 10.0
"""An epoch after which the residual is so many times larger is no step towards the solution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiSSAAuto:
    """LiSSA to a given relative error.

    With μ the lower bound of L2 and damping on the eigenvalues of A, and α the largest eigenvalue of sampled
    batches, the scale is (α + μ)/2: it makes E[M²] ⪯ I for a step M (see `LiSSA`), and a step shortens the
    mode of α by as much as that of μ, where a scale of half α would only change its sign. The depth of an
    epoch leaves `MODE_LEFT` of the slowest mode. Epochs go on until three things agree: of the slowest mode
    and of the standard error no more than half the target is left, and the residual bounds the error by the
    target (`influence.error_bound`). That is a proof where the model proves that H has no eigenvalue below
    its L2 (`Curvature.convex`); for another model μ is the smallest eigenvalue as it is computed first.

    Raises:
        ValueError: a setting is outside its range.
    """

    target: Annotated[float, Field(gt=0, lt=1, description="relative error of s_test aimed at")] = 0.01
    batch_size: Annotated[Count, Field(description="examples per step")] = 4
    repeats: Annotated[int, Field(ge=2, description="independent recursions; their spread is the error")] = 10
    damping: Damping = 0.0
    seed: Annotated[Seed, Field(description="of the drawn batches")] = 0

    def __post_init__(self) -> None:
        check_settings(self, "influence")

    def at(self, curvature: Curvature, progress: Progress | None = None) -> Solve:
        """The smallest eigenvalue, where L2 does not bound it; every v sees the same batches."""
        report = progress or (lambda done, total: None)
        slowest = _lower_bound(curvature) + self.damping

        def solve(v: Float[Tensor, " p"]) -> Solution:
            check_right_hand_side(v)
            counted = CountedCurvature(counted=curvature)
            if slowest <= 0:
                return failure(
                    Status.SINGULAR,
                    v,
                    evidence="neither L2 nor damping bounds its smallest eigenvalue from below",
                    remedy=definiteness_remedy(self.damping, slowest, convex=curvature.convex)
                    if slowest < 0
                    else "add L2 (`model.l2=0.01`) or damping (`influence.damping=0.01`)",
                )
            probe = LiSSA(batch_size=self.batch_size, damping=self.damping, seed=self.seed)
            largest = MARGIN * (float(probe.batch_eigenvalues(counted, v).max()) + self.damping)
            scale = (largest + slowest) / 2
            depth = math.ceil(math.log(1 / MODE_LEFT) * scale / slowest)
            return self._epochs(counted, v, slowest, scale, depth, report)

        return solve

    def _epochs(
        self,
        curvature: CountedCurvature,
        v: Float[Tensor, " p"],
        slowest: float,
        scale: float,
        depth: int,
        report: Progress,
    ) -> Solution:
        generator = torch.Generator().manual_seed(self.seed)
        anchors = torch.zeros(self.repeats, len(v), dtype=v.dtype, device=v.device)
        residuals = v.repeat(self.repeats, 1)
        product, trace = damped_product(curvature, self.damping), [(0, 1.0)]
        least = math.ceil(math.log(self.target / 2) / math.log(MODE_LEFT))
        for epoch in range(1, MAX_EPOCHS + 1):
            with threads_for(self.repeats * self.batch_size * len(v)):
                steps, difference = self._difference(curvature, residuals, scale, depth, generator)
            anchors = anchors + difference
            s = anchors.mean(0)
            residual, error, bound = v - product(s), _relative_error(anchors), math.inf
            trace.append(((epoch - 1) * depth + steps, relative_norm(residual, v)))
            report(epoch, max(least, epoch))
            # Written so that NaN counts as diverged.
            if steps < depth or not trace[-1][1] <= GROWTH * max(1.0, trace[-2][1]):
                step, relative = trace[-1]
                return failure(
                    Status.DIVERGED,
                    v,
                    evidence=f"after {step} steps at scale {scale:.3g} the residual is {relative:.1e} of v",
                    remedy="raise `influence.batch_size` or `influence.damping`",
                    num_hvps=curvature.num_hvps,
                    trace=tuple(trace),
                )
            if epoch == MAX_EPOCHS or (epoch >= least and error <= self.target / 2):
                bound = relative_error_bound(product, s, residual, slowest, 2 * scale, self.target)
                if max(2 * error, bound) <= self.target:
                    break
            residuals = v - curvature.product(anchors) - self.damping * anchors
        return self._ended(
            curvature,
            v,
            anchors,
            trace,
            chosen=f"scale {scale:.3g}, {epoch} epochs of {depth} steps, {self.repeats} repeats",
            error=error,
            bound=bound,
        )

    def _ended(
        self,
        curvature: CountedCurvature,
        v: Float[Tensor, " p"],
        anchors: Float[Tensor, "r p"],
        trace: list[tuple[int, float]],
        *,
        chosen: str,
        error: float,
        bound: float,
    ) -> Solution:
        reached = (
            f"relative standard error {error:.1e}, relative error at most {bound:.1e} by the residual, "
            f"for a target of {self.target:g}"
        )
        if not max(2 * error, bound) <= self.target:
            return failure(
                Status.NOT_CONVERGED,
                v,
                evidence=f"{chosen}: {reached}",
                remedy="raise `influence.batch_size`, `influence.repeats` or `influence.target`",
                relative_residual=trace[-1][1],
                num_hvps=curvature.num_hvps,
                trace=tuple(trace),
            )
        return Solution(
            value=anchors.mean(0),
            status=Status.FINISHED,
            message=f"LiSSA chose {chosen}: {reached}",
            repeats=anchors,
            relative_residual=trace[-1][1],
            num_hvps=curvature.num_hvps,
            trace=tuple(trace),
        )

    def _difference(
        self,
        curvature: Curvature,
        residuals: Float[Tensor, "r p"],
        scale: float,
        depth: int,
        generator: torch.Generator,
    ) -> tuple[int, Float[Tensor, "r p"]]:
        """Steps taken and h − a of every repeat, from its own residual v − A a; fewer steps if it diverged.

        scale·(h − a) is LiSSA's own iterate for that residual, so the same bound says when it has diverged.
        """
        d = torch.zeros_like(residuals)
        step = residuals / scale
        for taken in range(1, depth + 1):
            shape = self.repeats, self.batch_size
            indices = torch.randint(curvature.num_examples, shape, generator=generator)
            product = curvature.batch_product(indices.to(d.device), d)
            if self.damping:
                product.add_(d, alpha=self.damping)
            d.sub_(product, alpha=1 / scale).add_(step)
            if taken % CHECK_EVERY == 0 and has_diverged(d, taken, step):
                return taken, d
        return depth, d


def _lower_bound(curvature: Curvature) -> float:
    """Below every eigenvalue of H: its L2 where the model proves that, else as it is computed."""
    if curvature.convex:
        return curvature.l2
    found = lowest(curvature)
    return found.value - found.resolution


def _relative_error(estimates: Float[Tensor, "r p"]) -> float:
    """‖standard error of the mean‖/‖mean‖, widened for how few repeats it is taken from."""
    variance = estimates.var(dim=0).sum() / len(estimates)
    widened = small_sample_factor(len(estimates)) * torch.sqrt(variance)
    # A mean of 0 has no relative error; where all estimates are 0, neither an error.
    return float(widened / estimates.mean(0).norm()) if widened else 0.0
