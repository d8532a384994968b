"""What the stages of the figure have found, in words."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from cli.console import say, show
from cli.words.registry import words
from repro.folder.paths import RunFolder

if TYPE_CHECKING:
    from repro.records.summary import PointSummary
    from repro.stages.influence import Explained
    from repro.stages.plot import Plotted
    from repro.stages.report import Reported
    from repro.stages.retrain import Retrained
    from repro.stages.train import Trained
    from repro.sweep.sweep import Swept

MOST_ROWS = 40
"""Of a sweep; its file has all."""
AGREEMENT = {
    "pearson": ("pearson", ".5f"),
    "spearman": ("spearman", ".5f"),
    "slope": ("slope", ".4f"),
    "intercept": ("intercept", ".1e"),
    "max error": ("max_abs_error", ".1e"),
    "points": ("points", "d"),
    "seconds": ("seconds", ".1f"),
}
"""Columns of how predicted and actual changes agree."""
NUMBERS_OF_FIT = {
    "objective", "test_accuracy", "gradient_norm", "smallest_eigenvalue", "converged", "passes", "seconds"
}  # fmt: skip
NUMBERS_OF_SOLUTION = {"test_index", "relative_residual", "hessian_vector_products", "seconds"}


@words
def _(found: Trained) -> None:
    facts, lowest = found.facts, found.facts.smallest_eigenvalue
    of = f"(R(θ̂): {found.examples} examples, {found.parameters} parameters)"
    minimum = "a minimum" if facts.converged else "not shown to be a minimum"
    curvature = f"curvature      {lowest or 0:.1e}   the smallest eigenvalue of H at θ̂: {minimum}"
    lines = [
        f"run folder     {found.folder}",
        f"objective      {facts.objective:.10f}   {of}",
        f"test accuracy  {facts.test_accuracy:.4f}   ({found.test_examples} examples)",
        f"gradient norm  {facts.gradient_norm:.1e}   after {facts.passes} passes over the data",
        *([] if lowest is None else [curvature]),
        f"seconds        {facts.seconds:.1f}",
    ]
    say(
        "\n".join(lines),
        "trained",
        run_folder=found.folder,
        examples=found.examples,
        parameters=found.parameters,
        test_examples=found.test_examples,
        **facts.model_dump(include=NUMBERS_OF_FIT),
    )


@words
def _(found: Explained) -> None:
    solution = found.record
    line = (
        f"{found.method}: test point {solution.test_index}: {solution.message}\n"
        f"  top {found.top_k} of {found.examples} predicted changes: "
        f"{found.smallest_change:.3g} to {found.largest_change:.3g} in absolute value, "
        f"{found.negative} negative, {found.positive} positive; {solution.seconds:.1f} s"
    )
    if found.max_certificate is not None:
        known = f"{found.certified} predictions certified without retraining"
        line += f"\n  {known}: off by at most {found.max_certificate:.1e}"
    numbers = {name: value for name, value in asdict(found).items() if name != "record"}
    say(line, "predicted", **numbers, **solution.model_dump(include=NUMBERS_OF_SOLUTION))


@words
def _(found: Retrained) -> None:
    models, solved, seconds = found.result.models, len(found.result.solved.removals), found.result.seconds
    per_model, plural = int(models.passes.sum()) / len(models), "" if len(models) == 2 else "s"
    of_points = all(len(rows) <= 1 for rows in models.removals)
    left_out = f"leave-one-out model{plural}" if of_points else f"model{plural} without a group each"
    trained_on = math.isinf(found.tolerance)
    aim = "no tolerance: trained on" if trained_on else f"tolerance {found.tolerance:.0e}"
    say(
        f"{len(models) - 1} {left_out} and the null control: {solved} solved now in "
        f"{seconds:.1f} s, {len(models) - solved} from {found.weights}\n"
        f"largest gradient norm {models.largest_norm:.1e} ({aim}), "
        f"{per_model:.1f} passes over the data per model",
        "retrained",
        models=len(models),
        solved=solved,
        seconds=seconds,
        gradient_norm=models.largest_norm,
        tolerance=found.tolerance,
        passes_per_model=per_model,
        missed=found.missed,
    )


@words
def _(found: Plotted) -> None:
    for target, point in found.joined.summary.items():
        _say_point(target, point)
    line = f"wrote {', '.join(map(str, found.tables))} and the figures in {found.folder.figures}"
    say(line, "wrote", files=[*found.tables, *found.figures])
    for other in found.beside:
        there = "; their table and figures are there" if RunFolder(other).table.is_file() else ""
        say(f"the figure also has the panels of {other}{there}", "beside", folder=other)


def _say_point(target: int, point: PointSummary) -> None:
    rows = [{"method": name} | method.as_json() for name, method in point.methods.items()]
    title = f"test point {target}: actual change on predicted change"
    show("agreement", {"method": ("method", "")} | AGREEMENT, rows, title=title, test_index=target)
    if point.basins is not None:
        say(point.basins.words, "basins", test_index=target, **asdict(point.basins))
    say(point.truth, "certified", test_index=target, **point.known)


@words
def _(found: Swept) -> None:
    rows = [{str(key): value for key, value in row.items()} for row in found.table.to_dict("records")]
    several = found.table["test_index"].nunique() > 1 and "test_index" not in found.keys
    named = ["run", *found.keys, *(["test_index"] if several else []), "method"]
    columns = {name.replace("_", " "): (name, "") for name in named} | AGREEMENT
    del columns["spearman"], columns["seconds"]
    title = "actual change on predicted change"
    if len(rows) > MOST_ROWS:
        title += f": the first {MOST_ROWS} of {len(rows)} rows"
    show("sweep", columns, rows[:MOST_ROWS], title=title, objects=rows)


@words
def _(found: Reported) -> None:
    size = found.num_bytes / 1e6
    say(f"wrote {found.page} ({size:.1f} MB); open it in a browser", "wrote", files=[found.page])
