"""The spectrum of H as computed in several precisions: what is curvature and what is rounding."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from plots.style import BLUE, MUTED, VERMILLION, styled

ROUNDING = r"rounding: $p\,\epsilon\,\lambda_{\max}$"
SMALLEST_SHOWN = 1e-22
"""Share of the largest eigenvalue below which even float64 has nothing to say."""


@dataclass(frozen=True, kw_only=True)
class ComputedSpectrum:
    """Eigenvalues as one precision computes them, and the size that rounding gives to zeros."""

    eigenvalues: Float[np.ndarray, " m"]
    rounding: float


def draw_spectrum(spectra: Mapping[str, ComputedSpectrum]) -> Figure:
    """One panel per precision: |eigenvalue| by rank among those of its sign.

    Args:
        spectra: by the name of the precision.
    """
    with styled():
        figure = Figure(figsize=(0.6 + 2.9 * len(spectra), 3.5), layout="constrained")
        panels = figure.subplots(1, len(spectra), sharey=True, squeeze=False)[0]
        for axes, (name, spectrum) in zip(panels, spectra.items(), strict=True):
            top = float(np.abs(spectrum.eigenvalues).max())
            for colour, sign, label in ((BLUE, 1, "computed > 0"), (VERMILLION, -1, "computed < 0")):
                sizes = np.sort(sign * spectrum.eigenvalues[sign * spectrum.eigenvalues > 0])[::-1]
                named = f"{label}: {len(sizes):,}"
                axes.plot(np.arange(1, len(sizes) + 1), sizes, color=colour, linewidth=1.6, label=named)
            axes.axhline(spectrum.rounding, color=MUTED, linewidth=0.8, linestyle="--", label=ROUNDING)
            axes.set(yscale="log", ylim=(top * SMALLEST_SHOWN, 5 * top), title=name, xlabel="Rank")
            # Curves may run anywhere in the panel, so the legend stands under it.
            axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18))
        panels[0].set_ylabel("|Eigenvalue of H|")
    return figure
