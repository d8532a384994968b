"""The eigenvalues of H as a table and a figure."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cli.console import show
from influence.spectrum import Spectrum
from plots.spectrum import ComputedSpectrum, draw_spectrum
from repro.configuration.compose import Config
from repro.drawing.figures import write_figure
from repro.folder.paths import RunFolder


def show_spectra(spectra: list[Spectrum]) -> None:
    """Print how many eigenvalues lie where, a column a precision."""
    title = "eigenvalues of H" if spectra[-1].complete else "eigenvalues of H, at both ends of the spectrum"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title)
    table.add_column("", no_wrap=True)
    for found in spectra:
        table.add_column(found.precision, justify="right")
    table.add_row("smallest", *(f"{found.smallest:.1e}" for found in spectra))
    table.add_row("largest", *(f"{found.largest:.4g}" for found in spectra))
    for name in spectra[0].counts():
        table.add_row(name, *(f"{found.counts()[name]:,}" for found in spectra))
    table.add_row("rounding, p·eps·λ_max", *(f"{found.rounding:.1e}" for found in spectra))
    show(table, "spectrum", [_row(found) for found in spectra])


def _row(found: Spectrum) -> dict[str, Any]:
    """One precision's column of the table, for a program."""
    numbers = {name: getattr(found, name) for name in ("precision", "smallest", "largest", "rounding")}
    return numbers | {"complete": found.complete, "counts": found.counts()}


def draw_spectra(folder: RunFolder, config: Config, spectra: list[Spectrum]) -> list[Path]:
    """Write the figure of the spectrum."""
    figure = draw_spectrum(
        {
            found.precision: ComputedSpectrum(eigenvalues=found.eigenvalues, rounding=found.rounding)
            for found in spectra
        }
    )
    return write_figure(folder, config, figure, "spectrum")
