"""What the tools around the figure have found, in words: verdicts, comparisons, truth."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.text import Text

from cli.console import say, show
from cli.words.registry import say_result, words

if TYPE_CHECKING:
    from diagnosis.verdict import Verdict
    from influence.spectrum import Spectrum
    from repro.stages.compare import ComparedSetting, Comparison
    from repro.stages.diagnose import Diagnosis
    from repro.stages.export_model import ExportedModel
    from repro.stages.ground_truth import Exported
    from repro.stages.lds import DatamodelingScores

MARKS = {True: ("good", "green"), False: ("BAD", "red"), None: ("open", "yellow")}
BASELINE = ("base", "cyan")
"""Of what is there for comparison and counts for nothing."""
COMPARED = {
    "setting": ("name", ""),
    "s_test error": ("s_test_error", ".1e"),
    "1 − r": ("1 - r", ".1e"),
    "slope": ("slope", ".4f"),
    "seconds": ("seconds", ".2f"),
    "HVPs": ("hessian_vector_products", ".1f"),
}
GROUPS = ("method", "settings", "groups_max_abs_error", "groups_pearson", "groups_slope")
COMPARED_GROUPS = {
    "setting": ("name", ""),
    "largest error": ("groups_max_abs_error", ".1e"),
    "1 − r": ("1 - r", ".1e"),
    "slope": ("groups_slope", ".4f"),
}
SCORES = {
    "method": ("method", ""),
    "test point": ("test point", "s"),
    "r": ("r", ".5f"),
    "proven from": ("lowest", ".5f"),
    "to": ("highest", ".5f"),
}
SGD = {
    "losses ordered by": ("by", ""),
    "test point": ("test_index", "d"),
    "mean r": ("one_seed", ".5f"),
    "least r": ("lowest", ".5f"),
    "most r": ("highest", ".5f"),
    "r of mean loss": ("mean_of_seeds", ".5f"),
}
"""What is shown of scores by SGD's losses: none is a proven bound, as the ends of an interval are."""


@words
def _(found: Verdict) -> None:
    """The mark, the check, its evidence; and the remedy. One that failed is said in quiet too."""
    mark, style = MARKS[found.passed] if found.counts else BASELINE
    remedy = f"\n      → {found.remedy}" if found.remedy else ""
    line = Text.assemble((f"{mark:<5}", style), f" {found.check}: {found.evidence}{remedy}")
    say(line, "verdict", always=found.passed is False, **asdict(found))


@words
def _(found: Diagnosis) -> None:
    if found.judged_points < found.shown_points:
        few = f"{found.judged_points:,} of the {found.shown_points:,} points"
        say(f"judged by {few}; `repro retrain` solves all")
    line = f"run folder  {found.folder}   test point {found.test_index}"
    say(line, run_folder=found.folder, test_index=found.test_index)
    for verdict in found.verdicts:
        say_result(verdict)
    _show_spectra(found.spectra)


def _show_spectra(spectra: list[Spectrum]) -> None:
    """How many eigenvalues lie where, one precision per column."""
    shown = {
        "smallest": [f"{found.smallest:.1e}" for found in spectra],
        "largest": [f"{found.largest:.4g}" for found in spectra],
        **{name: [f"{found.counts()[name]:,}" for found in spectra] for name in spectra[0].counts()},
        "rounding, p·eps·λ_max": [f"{found.rounding:.1e}" for found in spectra],
    }
    precisions = [found.precision for found in spectra]
    columns = {"": ("", "")} | {precision: (precision, "s") for precision in precisions}
    rows = [{"": name} | dict(zip(precisions, cells, strict=True)) for name, cells in shown.items()]
    names = ("precision", "smallest", "largest", "rounding", "complete")
    objects = [{name: getattr(one, name) for name in names} | {"counts": one.counts()} for one in spectra]
    title = "eigenvalues of H" + ("" if spectra[-1].complete else ", at both ends of the spectrum")
    show("spectrum", columns, rows, title=title, objects=objects)


@words
def _(found: Comparison) -> None:
    rows = [asdict(row) | {"name": row.name} | _quality(row) for row in found.rows]
    show("comparison", COMPARED, rows, fold=["setting"], objects=[asdict(row) for row in found.rows])
    of_groups = [
        {"name": row.name, "1 - r": 1 - row.groups_pearson} | {name: getattr(row, name) for name in GROUPS}
        for row in found.rows
        if math.isfinite(row.groups_max_abs_error)
    ]
    if of_groups:
        title = "predicted changes of the groups against actual ones"
        objects = [{name: row[name] for name in GROUPS} for row in of_groups]
        show(
            "comparison_of_groups",
            COMPARED_GROUPS,
            of_groups,
            title=title,
            fold=["setting"],
            objects=objects,
        )
    best = found.cheapest
    if best is not None:
        from repro.stages.compare import GOOD_ERROR

        say(
            f"cheapest with s_test within {GOOD_ERROR:.0%} of exact: {best.name} ({best.seconds:.2g} s)",
            "cheapest",
            **asdict(best),
        )


def _quality(row: ComparedSetting) -> dict[str, object]:
    """What the columns of s_test show; the status of a setting that has none."""
    if math.isnan(row.s_test_error):
        return {"s_test_error": row.status, "1 - r": "", "slope": ""}
    return {"1 - r": max(0.0, 1 - row.pearson)}


@words
def _(found: Exported) -> None:
    counts = {"left-out training points": found.training_points, "groups of training points": found.groups}
    left_out = " and ".join(f"{count} {name}" for name, count in counts.items() if count)
    of = f"{found.test_points} test points × {left_out} of {found.examples}"
    say(f"{of}; largest certificate {found.max_certificate:.1e}", "exported", **asdict(found))


@words
def _(found: ExportedModel) -> None:
    parts = ", ".join(f"{name} {' × '.join(map(str, shape))}" for name, shape in found.shapes.items())
    say(f"{found.module}: {parts}, {found.dtype}", "exported_model", **asdict(found))


@words
def _(found: DatamodelingScores) -> None:
    rows = [
        {"method": one.method, "test point": target, "r": r.value, "lowest": r.lowest, "highest": r.highest}
        for one in found.methods
        for target, r in one.scores.items()
    ]
    title = "linear datamodeling score: Spearman's r of predicted and actual losses"
    show("scores", SCORES, rows, title=title)
    if found.truths:
        _say_sgd(found)
    say(
        f"{found.models} models; largest certificate {found.max_certificate:.1e}; wrote {found.file}",
        "scored",
        models=found.models,
        max_certificate=found.max_certificate,
        files=[found.file],
    )


def _say_sgd(found: DatamodelingScores) -> None:
    """The same scores, had the losses of models trained by SGD been the truth."""
    scored = [("certified losses", found.truths), *((one.method, one.noisy) for one in found.methods)]
    rows = [
        {"by": name, "test_index": target} | asdict(score)
        for name, scores in scored
        for target, score in scores.items()
    ]
    title = f"the same by the losses of models trained by SGD, {found.sgd_seeds} seeds"
    show("sgd", SGD, rows, title=title)
    say(
        "mean r: mean over the seeds of the r of one seed's losses; least and most r: of one seed, no proven "
        "bounds; r of mean loss: of the losses averaged over the seeds"
    )
