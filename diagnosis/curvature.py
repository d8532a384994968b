"""Is H positive definite, and if eigenvalues came out negative, is that rounding or real?"""

from collections.abc import Sequence

from diagnosis.verdict import Verdict
from influence.spectrum import Spectrum


def check_curvature(spectra: Sequence[Spectrum], damping: float, fit: str = "") -> Verdict:
    """Read the spectra, the last of which is the one to decide by (float64).

    H itself must be positive definite: damping lets a solver return numbers where it is not, but the
    minimisers that they are to predict are then not unique. Where Lanczos computed the ends of the spectrum
    and the smallest is nearer to zero than it can see, the verdict is open.

    Args:
        spectra: of the same H, in ascending precision.
        damping: that the methods add.
        fit: which one ends at a minimum of such a model; empty where every fit does that converges.
    """
    finest = spectra[-1]
    passed = None if _open(finest) else finest.smallest > finest.resolution
    condition = (finest.largest + damping) / (finest.smallest + damping) if passed else None
    return Verdict(
        check="curvature",
        passed=passed,
        evidence=f"{_definiteness(finest, damping, condition)}{_negatives(spectra)}",
        remedy="" if passed else _remedy(finest, fit),
        numbers={
            "damping": damping,
            "condition_number": condition,
            "spectra": {
                spectrum.precision: {
                    "smallest": spectrum.smallest,
                    "largest": spectrum.largest,
                    "rounding": spectrum.rounding,
                    "resolution": spectrum.resolution,
                    "complete": spectrum.complete,
                    **spectrum.counts(),
                }
                for spectrum in spectra
            },
        },
    )


def check_quadratic(spectra: Sequence[Spectrum], damping: float, gradient_norm: float) -> Verdict:
    """Where the truth is that of the quadratic around θ̂: has it a minimum? θ̂ itself need be none.

    Args:
        spectra: of H, the last of which is the one to decide by.
        damping: that the quadratic has on the diagonal of H.
        gradient_norm: ‖∇R(θ̂)‖, which is said.
    """
    finest = spectra[-1]
    lowest, highest = finest.smallest + damping, finest.largest + damping
    enough = max(-2 * finest.smallest, 1e6 * finest.resolution)
    passed = None if abs(lowest) <= finest.resolution else lowest > 0
    said = {True: "has a minimum", False: "has no minimum", None: "may or may not have a minimum"}[passed]
    return Verdict(
        check="quadratic",
        passed=passed,
        evidence=f"eigenvalues of H + {damping:g}·I {lowest:.1e} to {highest:.3g}, so the quadratic around θ̂ "
        f"{said}. θ̂ itself need be none (‖∇R(θ̂)‖ = {gradient_norm:.1e}): the truth is that quadratic's",
        remedy="" if passed else f"more of it: retrain.damping={enough:.1g} influence.damping={enough:.1g}",
        numbers={"damping": damping, "smallest": lowest, "largest": highest, "gradient_norm": gradient_norm},
    )


def _open(finest: Spectrum) -> bool:
    return not finest.complete and abs(finest.smallest) <= finest.resolution


def _definiteness(finest: Spectrum, damping: float, condition: float | None) -> str:
    counts, zero = finest.counts(), finest.resolution
    sizes = f"eigenvalues of H {finest.smallest:.1e} to {finest.largest:.3g}"
    if _open(finest):
        return f"{sizes}, found by Lanczos to within {zero:.0e}: whether the smallest is zero cannot be told"
    if counts["negative"]:
        return f"{sizes}: {counts['negative']} lie below −{zero:.0e}, which rounding cannot explain"
    if condition is None:
        damped = (
            f"; damping {damping:g} hides it from the solvers and changes the question" if damping else ""
        )
        return (
            f"{sizes}: {counts['zero up to rounding']} of {finest.num_parameters} are zero up to rounding "
            f"({zero:.0e}), so H is singular and θ̂ not unique{damped}"
        )
    return f"{sizes}, condition number {condition:.3g}"


def _negatives(spectra: Sequence[Spectrum]) -> str:
    """What became of computed negatives as the precision rose."""
    seen = [(spectrum, spectrum.counts()["computed < 0"]) for spectrum in spectra]
    if not any(count for _, count in seen) or spectra[-1].counts()["negative"]:
        return ""
    told = "; ".join(
        f"{spectrum.precision} computes {count} below 0, down to {min(spectrum.smallest, 0.0):.0e}"
        for spectrum, count in seen
    )
    return f". {told}: they shrink with the precision and stay within p·eps·λ_max, so they are rounding"


def _remedy(finest: Spectrum, fit: str) -> str:
    if finest.counts()["negative"]:
        damping = -2 * finest.smallest
        further = f"fit={fit} leaves saddles" if fit else "train on"
        return (
            f"θ̂ is no minimum: {further}; influence.damping={damping:.1g} or more lets solvers run, and with "
            "retrain=quadratic asks what the quadratic around θ̂ would do, which such predictions are of"
        )
    if _open(finest):
        return f"it can be told with more L2 than that: model.l2={10 * finest.resolution:.0e}, say"
    return "add L2, such as model.l2=0.01"
