"""The spectrum of H as computed in several precisions: what is curvature and what is rounding."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from plots.style import BLUE, MUTED, VERMILLION, styled


@dataclass(frozen=True, kw_only=True)
class ComputedSpectrum:
    """Eigenvalues as one precision computes them, and the size that rounding gives to zeros."""

    eigenvalues: Float[np.ndarray, " m"]
    rounding: float


def draw_spectrum(spectra: Mapping[str, ComputedSpectrum]) -> Figure:
    """One panel a precision: |eigenvalue| by rank, computed negatives in another colour.

    Args:
        spectra: by the name of the precision.
    """
    with styled():
        figure = Figure(figsize=(0.6 + 2.9 * len(spectra), 2.9), layout="constrained")
        panels = figure.subplots(1, len(spectra), sharey=True, squeeze=False)[0]
        for axes, (name, spectrum) in zip(panels, spectra.items(), strict=True):
            sizes = np.sort(np.abs(spectrum.eigenvalues))[::-1]
            signs = np.sign(spectrum.eigenvalues)[np.argsort(np.abs(spectrum.eigenvalues))[::-1]]
            ranks = np.arange(1, len(sizes) + 1)
            for colour, chosen, label in (
                (BLUE, signs > 0, "computed > 0"),
                (VERMILLION, signs < 0, "computed < 0"),
            ):
                if chosen.any():
                    axes.scatter(ranks[chosen], sizes[chosen], s=3, color=colour, linewidths=0, label=label)
            axes.axhline(spectrum.rounding, color=MUTED, linewidth=0.8, linestyle="--", label="p·eps·λ_max")
            axes.set(yscale="log", title=name, xlabel="Rank")
            axes.legend(frameon=False, loc="lower left", markerscale=2)
        panels[0].set_ylabel("|Eigenvalue of H|")
    return figure
