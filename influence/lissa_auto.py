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

import torch
from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature
from influence.lissa import CHECK_EVERY, LiSSA, has_diverged
from influence.solution import (
    Progress,
    Solution,
    Solve,
    Status,
    check_damping,
    check_right_hand_side,
    check_setting,
    failure,
    relative_norm,
    small_sample_factor,
)

MODE_LEFT = 0.1
"""Share of the slowest mode that an epoch leaves: its depth follows from that."""
MAX_EPOCHS = 12
GROWTH = 10.0
"""An epoch after which the residual is so many times larger is no step towards the solution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiSSAAuto:
    """LiSSA to a given relative standard error.

    The scale is half the largest eigenvalue of sampled batch Hessians, which makes E[M²] ⪯ I for a step M
    (see `LiSSA`); the depth of an epoch leaves `MODE_LEFT` of the slowest mode, for which L2 and damping are
    the lower bound; epochs go on until slowest mode and standard error are both below half the target.

    Args:
        target: relative error of s aimed at.
        batch_size: examples a step.
        repeats: independent recursions; their spread is the standard error.
        damping: added to the diagonal of H.
        seed: of the batches.

    Raises:
        ValueError: a setting is outside its range.
    """

    target: float = 0.01
    batch_size: int = 4
    repeats: int = 10
    damping: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_setting("target", self.target, 0 < self.target < 1, "between 0 and 1")
        check_setting("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        check_setting("repeats", self.repeats, self.repeats >= 2, "at least 2, whose spread is the error")
        check_setting("seed", self.seed, 0 <= self.seed < 2**63, "between 0 and 2⁶³ − 1")

    def at(self, curvature: Curvature, progress: Progress | None = None) -> Solve:
        """Nothing to prepare; every v sees the same batches."""
        report = progress or (lambda done, total: None)

        def solve(v: Float[Tensor, " p"]) -> Solution:
            check_right_hand_side(v)
            slowest = curvature.l2 + self.damping
            if slowest <= 0:
                return failure(
                    Status.SINGULAR,
                    v,
                    evidence="neither L2 nor damping bounds its smallest eigenvalue from below",
                    remedy="add L2 (`model.l2=0.01`) or damping (`influence.damping=0.01`)",
                )
            probe = LiSSA(batch_size=self.batch_size, damping=self.damping, seed=self.seed)
            scale = (float(probe.batch_eigenvalues(curvature, v).max()) + self.damping) / 2
            # H may reach further than half a batch's reach, when batches are large and alike.
            scale = max(scale, 2 * slowest)
            depth = math.ceil(math.log(1 / MODE_LEFT) * scale / slowest)
            return self._epochs(curvature, v, scale, depth, report)

        return solve

    def _epochs(
        self, curvature: Curvature, v: Float[Tensor, " p"], scale: float, depth: int, report: Progress
    ) -> Solution:
        generator = torch.Generator().manual_seed(self.seed)
        anchors = torch.zeros(self.repeats, len(v), dtype=v.dtype, device=v.device)
        residuals = v.repeat(self.repeats, 1)
        trace, left, error = [(0, 1.0)], 1.0, math.inf
        most = math.ceil(math.log(self.target / 2) / math.log(MODE_LEFT))
        for epoch in range(1, MAX_EPOCHS + 1):
            steps, difference = self._difference(curvature, residuals, scale, depth, generator)
            anchors, left = anchors + difference, left * MODE_LEFT
            error = self._relative_error(anchors)
            finished = epoch == MAX_EPOCHS or max(left, error) <= self.target / 2
            # After the last epoch nothing starts from the repeats' own residuals, so one product does.
            at = anchors.mean(0, keepdim=True) if finished else anchors
            residuals = v - curvature.product(at) - self.damping * at
            trace.append(((epoch - 1) * depth + steps, relative_norm(residuals.mean(0), v)))
            report(epoch, max(most, epoch))
            # Written so that NaN counts as diverged.
            if steps < depth or not trace[-1][1] <= GROWTH * max(1.0, trace[-2][1]):
                return self._diverged(v, scale, trace)
            if finished:
                break
        s = anchors.mean(0)
        chosen = f"scale {scale:.3g}, {epoch} epochs of {depth} steps, {self.repeats} repeats"
        reached = f"relative standard error {error:.1e} for a target of {self.target:g}"
        if error > self.target / 2:
            return failure(
                Status.NOT_CONVERGED,
                v,
                evidence=f"{chosen}: {reached}",
                remedy="raise `influence.batch_size`, `influence.repeats` or `influence.target`",
                trace=tuple(trace),
            )
        return Solution(
            value=s,
            status=Status.FINISHED,
            message=f"LiSSA chose {chosen}: {reached}",
            repeats=anchors,
            relative_residual=trace[-1][1],
            num_hvps=(epoch - 1) * self.repeats
            + 1
            + epoch * depth * self.repeats * self.batch_size / curvature.num_examples,
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
            indices = torch.randint(
                curvature.num_examples, (self.repeats, self.batch_size), generator=generator
            ).to(d.device)
            product = curvature.batch_product(indices, d)
            if self.damping:
                product.add_(d, alpha=self.damping)
            d.sub_(product, alpha=1 / scale).add_(step)
            if taken % CHECK_EVERY == 0 and has_diverged(d, taken, step):
                return taken, d
        return depth, d

    def _relative_error(self, estimates: Float[Tensor, "r p"]) -> float:
        """‖standard error of the mean‖/‖mean‖, widened for how few repeats it is taken from."""
        variance = estimates.var(dim=0).sum() / len(estimates)
        widened = small_sample_factor(len(estimates)) * torch.sqrt(variance)
        return float(widened / estimates.mean(0).norm())

    def _diverged(self, v: Float[Tensor, " p"], scale: float, trace: list[tuple[int, float]]) -> Solution:
        step, residual = trace[-1]
        return failure(
            Status.DIVERGED,
            v,
            evidence=f"after {step} steps at scale {scale:.3g} the residual is {residual:.1e} of v",
            remedy="raise `influence.batch_size` or `influence.damping`",
            trace=tuple(trace),
        )
