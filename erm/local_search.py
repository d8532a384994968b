"""The search for a local minimum: descend, step to the tolerance, look at the curvature.

What it is at any time follows from its state alone, which it leaves at a checkpoint, so an interrupted search
that goes on ends at the same bits.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from erm.checkpoint import Checkpoint, is_sound
from erm.descent import Point, descended, evaluated
from erm.fit import Fit, Progress
from erm.lowest import Lowest, is_explicit, lowest
from erm.risk import EmpiricalRisk
from erm.trust_region import Scale, Step, next_radius, steihaug_step

SLOW = 1e-10
"""Relative decrease of R in a segment from which Newton steps do better."""
NEAR = 1e-7
"""Gradient norm at which they take over in any case; they square it."""
FORCING = 0.1
SAME_VALUE = 1e-9
"""Relative difference of two values of R up to which their gradients are compared instead: see `erm.fit`."""
SMALLEST_STEP = 1e-14
"""Length of a step, beside θ, that changes nothing any more."""
MAX_HALVINGS = 40
ESCAPE = 0.25
"""Share of the decrease along negative curvature that a step must bring."""


@dataclass(eq=False)
class _Region:
    """Where Newton steps are trusted."""

    anchor: Float[Tensor, " p"] | None
    """θ at which the factor of `scale` was made; None where there is none."""
    scale: Scale
    radius: float
    """Of steps in the variables of `scale`."""
    helped: bool = False
    """Whether a step was taken in it."""


class LocalSearch:
    """One minimisation: where it is, what it has taken, and what it has found out."""

    here: Point

    def __init__(
        self,
        risk: EmpiricalRisk,
        tolerance: float,
        max_passes: int,
        progress: Progress | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.risk, self.tolerance, self.max_passes = risk, tolerance, max_passes
        self.progress, self.checkpoint = progress, checkpoint
        self.near = max(tolerance, NEAR)
        self.out_of_passes = f"{max_passes} passes, all that are allowed. Raise fit.max_passes"
        self.passes, self.low = 0, False
        self.trace: dict[int, float] = {}

    def run(self, start: Float[Tensor, " p"]) -> Fit:
        """Descend, step, look at the curvature; again below a saddle, and as long as something is gained."""
        region = self.begin(start)
        while True:
            below = None
            if region is None:
                self.descend()
                if self.passes >= self.max_passes:
                    return self.ended(None, self.out_of_passes)
                below = self.look() if is_explicit(len(start)) else None
                if below is None or not (below.is_negative or self.here.norm <= self.tolerance):
                    region = self.region_around(below)
            if region is not None:
                reason, region = self.newton(region), None
                if reason:
                    return self.ended(None, reason)
                if self.here.norm > self.tolerance:
                    continue
                below = self.look()
            assert below is not None
            if below.is_positive:
                return self.ended(below, "")
            reason = self.escape(below) if below.is_negative else _flat(below)
            if reason:
                return self.ended(below, reason)

    def begin(self, start: Float[Tensor, " p"]) -> _Region | None:
        """Stand at the start, or where an interrupted search stood; the region it was in, if any."""
        state = None if self.checkpoint is None else self.checkpoint.load()
        if state is None or not is_sound(state, start):
            self.here = self.evaluate(start)
            return None
        self.passes = int(state["passes"]) - 1
        self.here = self.evaluate(state["theta"].to(start))
        self.trace = {int(passes): float(norm) for passes, norm in state["trace"].tolist()}
        self.low = bool(state["low"])
        if "radius" not in state:
            return None
        anchor = state["anchor"].to(start) if "anchor" in state else None
        factor = None if anchor is None else lowest(self.risk.curvature(anchor)).factor
        return _Region(anchor, Scale(factor), float(state["radius"]), helped=True)

    def ended(self, below: Lowest | None, reason: str) -> Fit:
        return Fit(
            theta=self.here.theta,
            value=self.here.value,
            gradient_norm=self.here.norm,
            converged=not reason,
            passes=self.passes,
            trace=tuple((self.trace | {self.passes: self.here.norm}).items()),
            smallest_eigenvalue=None if below is None else below.value,
            reason=reason,
        )

    def descend(self) -> None:
        """L-BFGS, segment by segment, until it is slow or near."""
        while not self.low and self.here.norm > self.near and self.passes < self.max_passes:
            before, evaluations = self.here.value, self.max_passes - self.passes
            self.here = descended(self.evaluate, self.here, evaluations=evaluations, norm=self.near)
            # Written so that NaN ends it too.
            self.low = not before - self.here.value > SLOW * abs(before)
            self.save()
        self.low = False

    def look(self) -> Lowest:
        self.count()
        return lowest(self.risk.curvature(self.here.theta))

    def region_around(self, below: Lowest | None) -> _Region:
        """As wide as θ is long; with H's Cholesky factor, where it has one."""
        factor = None if below is None else below.factor
        scale = Scale(factor)
        radius = max(1.0, float(scale.forward(self.here.theta).norm()))
        return _Region(None if factor is None else self.here.theta, scale, radius)

    def newton(self, region: _Region) -> str:
        """Steps in a trust region, until the tolerance is reached or no step helps; why no more helps.

        It is no reason yet where an earlier step did help: then the search goes on from there.
        """
        while self.here.norm > self.tolerance:
            if self.passes >= self.max_passes:
                return self.out_of_passes
            step = self.step(region)
            moved = region.scale.back(step.direction)
            there = self.evaluate(self.here.theta + moved)
            share = self.share(there, step.decrease)
            region.radius = next_radius(region.radius, step, share)
            if share > 0:
                self.here, region.helped = there, True
                self.save(region)
            elif not float(moved.norm()) > SMALLEST_STEP * float(self.here.theta.norm()):
                return "" if region.helped else "rounding keeps ‖∇R‖ above it. Raise fit.tolerance"
        return ""

    def step(self, region: _Region) -> Step:
        curvature = self.risk.curvature(self.here.theta)

        def product(w: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
            self.count()
            return region.scale.gradient(curvature.product(region.scale.back(w)[None])[0])

        return steihaug_step(
            product,
            region.scale.gradient(self.here.gradient),
            radius=region.radius,
            forcing=min(FORCING, math.sqrt(self.here.norm)),
            most=max(1, min(2 * len(self.here.theta), self.max_passes - self.passes)),
        )

    def share(self, there: Point, promised: float) -> float:
        """What came of a promised decrease; where values hardly differ, whether the gradient is smaller."""
        fallen, same = self.here.value - there.value, SAME_VALUE * abs(self.here.value)
        if max(abs(fallen), promised) <= same:
            return 1.0 if there.norm < self.here.norm else 0.0
        return fallen / promised if promised > 0 else 0.0

    def escape(self, below: Lowest) -> str:
        """Leave a saddle along its negative curvature, downhill; why that is not possible, if so."""
        uphill = float(self.here.gradient.dot(below.vector)) > 0
        direction = -below.vector if uphill else below.vector
        longest = max(1.0, float(self.here.theta.norm()))
        for halvings in range(MAX_HALVINGS):
            length = longest / 2**halvings
            if self.passes >= self.max_passes:
                return self.out_of_passes
            there = self.evaluate(self.here.theta + length * direction)
            if there.value < self.here.value + ESCAPE * below.value * length**2 / 2:
                self.here = there
                self.save()
                return ""
        return (
            f"a saddle that cannot be left: the smallest eigenvalue of H is {below.value:.1e}, and no step "
            "along its eigenvector lowers R. Start elsewhere, with another model.seed"
        )

    def evaluate(self, theta: Float[Tensor, " p"]) -> Point:
        found = evaluated(self.risk, theta)
        self.count()
        return found

    def count(self) -> None:
        self.passes += 1
        if self.progress is not None and hasattr(self, "here"):
            self.progress(self.passes, self.here.norm)

    def save(self, region: _Region | None = None) -> None:
        self.trace[self.passes] = self.here.norm
        if self.checkpoint is None:
            return
        trace = torch.tensor(list(self.trace.items()), dtype=torch.float64)
        state = {"theta": self.here.theta, "passes": torch.tensor(self.passes), "trace": trace}
        state["low"] = torch.tensor(self.low)
        if region is not None:
            state["radius"] = torch.tensor(region.radius, dtype=torch.float64)
            if region.anchor is not None:
                state["anchor"] = region.anchor
        self.checkpoint.save(state)


def _flat(below: Lowest) -> str:
    return (
        f"whether this is a minimum cannot be told: the smallest eigenvalue of H, {below.value:.1e}, is zero "
        f"to within {below.resolution:.0e}. Set model.l2 higher; what L2 is not on, as the biases "
        "of model=cnn, may have directions that change no prediction"
    )
