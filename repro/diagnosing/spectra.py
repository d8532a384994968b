"""The eigenvalues of H as a figure."""

from pathlib import Path

from influence.spectrum import Spectrum
from plots.spectrum import ComputedSpectrum, draw_spectrum
from repro.configuration.compose import Config
from repro.drawing.figures import write_figure
from repro.folder.paths import RunFolder


def draw_spectra(folder: RunFolder, config: Config, spectra: list[Spectrum]) -> list[Path]:
    """Write the figure of the spectrum."""
    figure = draw_spectrum(
        {
            found.precision: ComputedSpectrum(eigenvalues=found.eigenvalues, rounding=found.rounding)
            for found in spectra
        }
    )
    return write_figure(folder, config, figure, "spectrum")
