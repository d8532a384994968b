"""LiSSA: (H + damping·I)⁻¹v by a stochastic Neumann series (Agarwal, Bullins & Hazan, 2017)."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from erm.risk import Curvature
from erm.settings import Count, Positive, Seed, check_settings
from influence.counting import CountedCurvature
from influence.solution import (
    ITERATE_NORM,
    Damping,
    Progress,
    Solution,
    Solve,
    Status,
    check_right_hand_side,
    damped_product,
    failure,
    relative_norm,
)
from influence.threads import threads_for

CHECK_EVERY = 50
"""Steps between two looks at the norm of the iterates."""
GROWTH = 100.0
"""How far above (t + 1)‖v‖ an iterate must be to count as growing without bound: see `LiSSA`."""
POWER_ITERATIONS = 10
SAMPLED_EXAMPLES = 4096
SAMPLED_BATCHES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class LiSSA:
    """The recursion of Koh & Liang (2017, section 3), with all repeats side by side in one batched product:

        h₀ = v,  hₜ₊₁ = v + hₜ − (H_B + damping·I) hₜ/scale,  s = mean over the repeats of h_depth/scale

    with H_B the mean Hessian over a fresh batch. Its mean is the first depth + 1 terms of the Neumann series
    Σⱼ (I − (H + damping·I)/scale)ʲ v/scale: the part (1 − (λ + damping)/scale)^(depth + 1) of the component
    of eigenvalue λ is missing from s, so `depth` should be several times scale/(λ_min + damping).

    Two differences from the released code. Damping is added to H here, while there it multiplies h by
    1 − damping. And batches are drawn uniformly with replacement here, while there they walk through the file
    and then through shuffled epochs, so that the repeats depend on each other: only independent repeats
    have a spread that is a standard error.

    The recursion has diverged when ‖hₜ‖ > 100 (t + 1)‖v‖ or is not finite. As long as E[M²] ⪯ I for the step
    M = I − (H_B + damping·I)/scale, Minkowski's inequality gives (E‖hₜ‖²)^½ ≤ (t + 1)‖v‖, and Chebyshev's
    a chance of at most 1e-4 of a false alarm. E[M²] ⪯ I holds when no batch has an eigenvalue above
    2·scale − damping, and still when a few do, as at the paper's settings, where 1.6 % of the steps expand.

    E[M²] ⪯ I needs uᵀE[A_B²]u ≤ 2·scale·uᵀE[A_B]u for every u, with A_B = H_B + damping·I, hence for their
    traces: with α the largest eigenvalue of A_B, E[α²]/E[α] ≤ 2·scale, up to the smaller ones. Where that
    does not hold, steps expand on average, a strong sign of divergence though no proof of it, and the
    recursion is refused before it starts, unless `allow_divergence`. L2 and damping both stand in α: it makes
    no difference which of them a part of A comes from.

    Args:
        scale: divides the batch Hessians; larger is stabler and slower.
        seed: of the batches: the same seed gives the same s, bit by bit, on one machine.

    Raises:
        ValueError: a setting is outside its range.
    """

    scale: Annotated[Positive, Field(description="divides every step; must exceed the batch Hessians")] = 25.0
    depth: Annotated[Count, Field(description="steps of a repeat (recursion depth)")] = 5000
    batch_size: Annotated[Count, Field(description="examples per step")] = 1
    repeats: Annotated[Count, Field(description="independent recursions that are averaged")] = 10
    damping: Damping = 0.0
    seed: Annotated[Seed, Field(description="of the drawn batches")] = 0
    allow_divergence: Annotated[
        bool, Field(description="start also where the batches foretell divergence")
    ] = False

    def __post_init__(self) -> None:
        check_settings(self, "influence")

    def at(self, curvature: Curvature, progress: Progress | None = None) -> Solve:
        """Nothing to prepare; every v sees the same batches."""
        report = progress or (lambda done, total: None)

        def solve(v: Float[Tensor, " p"]) -> Solution:
            check_right_hand_side(v)
            counted = CountedCurvature(counted=curvature)
            if not self.allow_divergence and (refused := self._refused(counted, v)) is not None:
                return refused
            with threads_for(self.repeats * self.batch_size * len(v)):
                estimates, trace = self._recursion(counted, v, report)
            if estimates is None:
                return self._diverged(counted, v, trace)
            return self._finished(counted, v, estimates, trace)

        return solve

    def _refused(self, curvature: CountedCurvature, v: Float[Tensor, " p"]) -> Solution | None:
        """A solution that says why the recursion was not started, None if it may be."""
        eigenvalues = self.batch_eigenvalues(curvature, v) + self.damping
        typical = float(eigenvalues.square().sum() / eigenvalues.sum()) if eigenvalues.any() else 0.0
        # Written so that NaN is left to the recursion, which says what is wrong with it.
        if not typical > 2 * self.scale:
            return None
        largest = float(eigenvalues.max())
        return failure(
            Status.REFUSED,
            v,
            evidence=(
                f"Hessians of batches of {self.batch_size} plus damping have eigenvalues of {typical:.3g}, "
                f"weighted by size, up to {largest:.3g}; steps expand above 2·scale = {2 * self.scale:g}"
            ),
            remedy=(
                f"set `influence.scale={_round_up(largest):g}` and raise `influence.depth` in proportion; "
                "`influence.allow_divergence=true` runs it all the same"
            ),
            num_hvps=curvature.num_hvps,
        )

    def _recursion(
        self, curvature: Curvature, v: Float[Tensor, " p"], report: Progress
    ) -> tuple[Float[Tensor, "r p"] | None, list[tuple[int, float]]]:
        """h_depth/scale of every repeat, None when it diverged, and the largest ‖hₜ‖ at 0 and every check."""
        generator = torch.Generator().manual_seed(self.seed)
        h = v.repeat(self.repeats, 1)
        trace = [(0, float(v.norm()))]
        for start in range(0, self.depth, CHECK_EVERY):
            step = min(start + CHECK_EVERY, self.depth)
            for indices in self._draw(curvature, (step - start, self.repeats), generator).to(v.device):
                product = curvature.batch_product(indices, h)
                # In place, because small batches leave the loop bound by its passes over h.
                if self.damping:
                    product.add_(h, alpha=self.damping)
                h.sub_(product, alpha=1 / self.scale).add_(v)
            trace.append((step, float(torch.linalg.vector_norm(h, dim=1).max())))
            report(step, self.depth)
            if has_diverged(h, step + 1, v):
                return None, trace
        return h / self.scale, trace

    def _draw(
        self, curvature: Curvature, shape: tuple[int, ...], generator: torch.Generator
    ) -> Int[Tensor, "*shape b"]:
        return torch.randint(curvature.num_examples, (*shape, self.batch_size), generator=generator)

    def _finished(
        self,
        curvature: CountedCurvature,
        v: Float[Tensor, " p"],
        estimates: Float[Tensor, "r p"],
        trace: list[tuple[int, float]],
    ) -> Solution:
        s = estimates.mean(0)
        residual = relative_norm(v - damped_product(curvature, self.damping)(s), v)
        return Solution(
            value=s,
            status=Status.FINISHED,
            message=f"LiSSA ran {self.repeats} × {self.depth} steps to a relative residual of {residual:.1e}",
            repeats=estimates,
            relative_residual=residual,
            num_hvps=curvature.num_hvps,
            trace=tuple(trace),
            traced=ITERATE_NORM,
        )

    def _diverged(
        self, curvature: CountedCurvature, v: Float[Tensor, " p"], trace: list[tuple[int, float]]
    ) -> Solution:
        step, norm = trace[-1]
        largest = float(self.batch_eigenvalues(curvature, v).max())
        # A batch rarer than those sampled may be to blame: never advise less than twice what failed.
        scale = _round_up(max(largest + self.damping, 2 * self.scale))
        evidence = (
            f"after {step} steps an iterate has norm {norm:.1e}, with ‖v‖ = {float(v.norm()):.1e}; Hessians "
            f"of batches of {self.batch_size} have eigenvalues up to {largest:.3g}, scale is {self.scale:g}"
        )
        remedy = (
            f"set `influence.scale={scale:g}` and raise `influence.depth` in proportion; if H itself has "
            "negative eigenvalues, set `influence.damping` above their size"
        )
        return failure(
            Status.DIVERGED,
            v,
            evidence=evidence,
            remedy=remedy,
            num_hvps=curvature.num_hvps,
            trace=tuple(trace),
            traced=ITERATE_NORM,
        )

    def batch_eigenvalues(self, curvature: Curvature, v: Float[Tensor, " p"]) -> Float[Tensor, " batches"]:
        """Largest |eigenvalue| of the Hessians of sampled batches, L2 inside, by power iterations.

        They run on what exceeds the L2 where that is known to be no less than zero: L2 would slow them down.
        As a scale it leaves a factor of two for what sampling misses: only eigenvalues above 2·scale expand.
        """
        generator = torch.Generator().manual_seed(self.seed)
        num_batches = min(SAMPLED_BATCHES, max(1, SAMPLED_EXAMPLES // self.batch_size))
        indices = self._draw(curvature, (num_batches,), generator).to(v.device)
        u = torch.randn(num_batches, len(v), generator=generator, dtype=v.dtype).to(v.device)
        floor = curvature.l2 if curvature.convex else 0.0
        with threads_for(indices.numel() * len(v)):
            for _ in range(POWER_ITERATIONS):
                norms = torch.linalg.vector_norm(u, dim=1, keepdim=True)
                # A batch may have no curvature at all, and then u = 0.
                u = u / norms.clamp_min(torch.finfo(u.dtype).tiny)
                u = curvature.batch_product(indices, u).sub_(u, alpha=floor)
        eigenvalues: Tensor = torch.linalg.vector_norm(u, dim=1).add_(floor)
        return eigenvalues


def has_diverged(h: Float[Tensor, "r p"], terms: int, v: Float[Tensor, "*r p"]) -> bool:
    """Whether any ‖h‖ is more than a sum of so many terms of the size of its v can be: see `LiSSA`."""
    norms, sizes = torch.linalg.vector_norm(h, dim=-1), torch.linalg.vector_norm(v, dim=-1)
    # Written so that NaN counts as diverged.
    return not bool((norms <= GROWTH * terms * sizes).all())


def _round_up(value: float) -> float:
    """To two significant digits, not below `value`."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit
