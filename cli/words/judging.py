"""What the tools around the figure have found, in words: verdicts, comparisons, truth."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.text import Text

from cli.console import say, say_wrote, show
from cli.words.registry import result_table, say_result, words

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
SGD_COLUMNS = {
    "mean r": "one_seed",
    "least r": "lowest",
    "most r": "highest",
    "r of mean loss": "mean_of_seeds",
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
        say(
            f"judged by {found.judged_points:,} of the {found.shown_points:,} points; "
            "`repro retrain` solves all"
        )
    say(
        f"run folder  {found.folder}   test point {found.test_index}",
        run_folder=found.folder,
        test_index=found.test_index,
    )
    for verdict in found.verdicts:
        say_result(verdict)
    _show_spectra(found.spectra)


def _show_spectra(spectra: list[Spectrum]) -> None:
    """How many eigenvalues lie where, one precision per column."""
    table = result_table(
        "eigenvalues of H" if spectra[-1].complete else "eigenvalues of H, at both ends of the spectrum"
    )
    table.add_column("", no_wrap=True)
    for found in spectra:
        table.add_column(found.precision, justify="right")
    table.add_row("smallest", *(f"{found.smallest:.1e}" for found in spectra))
    table.add_row("largest", *(f"{found.largest:.4g}" for found in spectra))
    for name in spectra[0].counts():
        table.add_row(name, *(f"{found.counts()[name]:,}" for found in spectra))
    table.add_row("rounding, p·eps·λ_max", *(f"{found.rounding:.1e}" for found in spectra))
    names = ("precision", "smallest", "largest", "rounding", "complete")
    rows = [{name: getattr(found, name) for name in names} | {"counts": found.counts()} for found in spectra]
    show(table, "spectrum", rows)


@words
def _(found: Comparison) -> None:
    table = result_table()
    table.add_column("setting", overflow="fold")
    for name in ("s_test error", "1 − r", "slope", "seconds", "HVPs"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(row.name, *_quality(row), f"{row.seconds:.2f}", f"{row.hessian_vector_products:.1f}")
    show(table, "comparison", [asdict(row) for row in found.rows])
    _show_groups([row for row in found.rows if math.isfinite(row.groups_max_abs_error)])
    best = found.cheapest
    if best is not None:
        from repro.stages.compare import GOOD_ERROR

        say(
            f"cheapest with s_test within {GOOD_ERROR:.0%} of exact: {best.name} ({best.seconds:.2g} s)",
            "cheapest",
            **asdict(best),
        )


def _quality(row: ComparedSetting) -> tuple[str, str, str]:
    if math.isnan(row.s_test_error):
        return row.status, "", ""
    return f"{row.s_test_error:.1e}", f"{max(0.0, 1 - row.pearson):.1e}", f"{row.slope:.4f}"


def _show_groups(rows: list[ComparedSetting]) -> None:
    """The same settings against the certified changes of groups, where there are any."""
    if not rows:
        return
    table = result_table("predicted changes of the groups against actual ones")
    table.add_column("setting", overflow="fold")
    for name in ("largest error", "1 − r", "slope"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        numbers = f"{row.groups_max_abs_error:.1e}", f"{1 - row.groups_pearson:.1e}"
        table.add_row(row.name, *numbers, f"{row.groups_slope:.4f}")
    names = ("method", "settings", "groups_max_abs_error", "groups_pearson", "groups_slope")
    show(table, "comparison_of_groups", [{name: getattr(row, name) for name in names} for row in rows])


@words
def _(found: Exported) -> None:
    say(
        f"{found.test_points} test points × {_left_out(found)} of "
        f"{found.examples}; largest certificate {found.max_certificate:.1e}",
        "exported",
        **asdict(found),
    )
    say_wrote(found.file)


def _left_out(found: Exported) -> str:
    counts = {"left-out training points": found.training_points, "groups of training points": found.groups}
    return " and ".join(f"{count} {name}" for name, count in counts.items() if count)


@words
def _(found: ExportedModel) -> None:
    parts = ", ".join(f"{name} {' × '.join(map(str, shape))}" for name, shape in found.shapes.items())
    say(f"{found.module}: {parts}, {found.dtype}", "exported_model", **asdict(found))
    say_wrote(found.file)


@words
def _(found: DatamodelingScores) -> None:
    table = result_table("linear datamodeling score: Spearman's r of predicted and actual losses")
    columns = ("method", "test point", "r", "lowest", "highest")
    for name in (*columns[:3], "proven from", "to"):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    rows = [
        {
            "method": one.method,
            "test point": str(target),
            "r": r.value,
            "lowest": r.lowest,
            "highest": r.highest,
        }
        for one in found.methods
        for target, r in [
            *one.test_points.items(),
            *([("mean", one.mean)] if len(one.test_points) > 1 else []),
        ]
    ]
    for row in rows:
        numbers = [f"{row[name]:.5f}" for name in columns[2:]]
        table.add_row(str(row["method"]), str(row["test point"]), *numbers)
    show(table, "scores", rows)
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
    table = result_table(f"the same by the losses of models trained by SGD, {found.sgd_seeds} seeds")
    for name in ("losses ordered by", "test point", *SGD_COLUMNS):
        table.add_column(name, justify="left" if name == "losses ordered by" else "right", no_wrap=True)
    scored = [("certified losses", found.truths), *((one.method, one.noisy) for one in found.methods)]
    rows = [
        {"by": name, "test_index": target} | asdict(score)
        for name, scores in scored
        for target, score in scores.items()
    ]
    for row in rows:
        numbers = [f"{row[name]:.5f}" for name in SGD_COLUMNS.values()]
        table.add_row(str(row["by"]), str(row["test_index"]), *numbers)
    show(table, "sgd", rows)
    say(
        "mean r: mean over the seeds of the r of one seed's losses; least and most r: of one seed, no proven "
        "bounds; r of mean loss: of the losses averaged over the seeds"
    )
