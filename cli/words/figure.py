"""What the stages of the figure have found, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.console import say, show
from cli.words.registry import result_table, words
from plots.numbers import format_number
from repro.folder.paths import RunFolder

if TYPE_CHECKING:
    from rich.table import Table

    from repro.records.summary import PointSummary
    from repro.stages.influence import Explained
    from repro.stages.plot import Plotted
    from repro.stages.report import Reported
    from repro.stages.retrain import Retrained
    from repro.stages.train import Trained
    from repro.sweep.sweep import Swept

MOST_ROWS = 40
"""Of a sweep; its file has all."""
FORMATS = {"pearson": ".5f", "spearman": ".5f", "slope": ".4f", "points": "d", "seconds": ".1f"}


@words
def _(found: Trained) -> None:
    facts = found.facts
    of = f"(R(θ̂): {found.examples} examples, {found.parameters} parameters)"
    lines = [
        f"run folder     {found.folder}",
        f"objective      {facts.objective:.10f}   {of}",
        f"test accuracy  {facts.test_accuracy:.4f}   ({found.test_examples} examples)",
        f"gradient norm  {facts.gradient_norm:.1e}   after {facts.passes} passes over the data",
        *_minimum(facts.smallest_eigenvalue, facts.converged),
        f"seconds        {facts.seconds:.1f}",
    ]
    numbers = (
        "objective", "test_accuracy", "gradient_norm", "smallest_eigenvalue", "converged", "passes", "seconds"
    )  # fmt: skip
    say(
        "\n".join(lines),
        "trained",
        run_folder=found.folder,
        examples=found.examples,
        parameters=found.parameters,
        test_examples=found.test_examples,
        **{name: getattr(facts, name) for name in numbers},
    )


def _minimum(smallest: float | None, converged: bool) -> list[str]:
    """What the fit has found out about the curvature at θ̂, if it has looked."""
    if smallest is None:
        return []
    said = "a minimum" if converged else "not shown to be a minimum"
    return [f"curvature      {smallest:.1e}   the smallest eigenvalue of H at θ̂: {said}"]


@words
def _(found: Explained) -> None:
    solution = found.record
    certified = (
        ""
        if found.max_certificate is None
        else f"\n  {found.certified} predictions certified without retraining: off by at most "
        f"{found.max_certificate:.1e}"
    )
    say(
        f"{found.method}: test point {solution.test_index}: {solution.message}\n"
        f"  top {found.top_k} of {found.examples} predicted changes: "
        f"{found.smallest_change:.3g} to {found.largest_change:.3g} in absolute value, "
        f"{found.negative} negative, {found.positive} positive; {solution.seconds:.1f} s{certified}",
        "predicted",
        **{name: value for name, value in asdict(found).items() if name != "record"},
        test_index=solution.test_index,
        relative_residual=solution.relative_residual,
        hessian_vector_products=solution.hessian_vector_products,
        seconds=solution.seconds,
    )


@words
def _(found: Retrained) -> None:
    models, solved, seconds = found.result.models, len(found.result.solved.removals), found.result.seconds
    per_model, plural = int(models.passes.sum()) / len(models), "" if len(models) == 2 else "s"
    of_points = all(len(rows) <= 1 for rows in models.removals)
    left_out = f"leave-one-out model{plural}" if of_points else f"model{plural} without a group each"
    say(
        f"{len(models) - 1} {left_out} and the null control: {solved} solved now in "
        f"{seconds:.1f} s, {len(models) - solved} from {found.weights}\n"
        f"largest gradient norm {models.largest_norm:.1e} ({_aim(found.tolerance)}), "
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


def _aim(tolerance: float) -> str:
    return "no tolerance: trained on" if math.isinf(tolerance) else f"tolerance {tolerance:.0e}"


@words
def _(found: Plotted) -> None:
    for target, point in found.joined.summary.items():
        _say_point(target, point)
    say(
        f"wrote {', '.join(map(str, found.tables))} and the figures in {found.folder.figures}",
        "wrote",
        files=[*found.tables, *found.figures],
    )
    for other in found.beside:
        there = "; their table and figures are there" if RunFolder(other).table.is_file() else ""
        say(
            f"the figure also has the panels of {other}{there}",
            "beside",
            folder=other,
        )


def _say_point(target: int, point: PointSummary) -> None:
    columns = ("pearson", "spearman", "slope", "intercept", "max_abs_error", "points", "seconds")
    rows = [{"method": name} | method.as_json() for name, method in point.methods.items()]
    table = _agreement_table(
        f"test point {target}: actual change on predicted change", ["method"], columns, rows
    )
    show(table, "agreement", rows, test_index=target)
    basins = point.basins
    if basins is not None:
        others = {"left it": basins.left_it, "undecided": basins.undecided}
        rest = "".join(f", {count} {name}" for name, count in others.items() if count)
        say(
            f"models that are θ̂'s own minimum, continued: {basins.same_basin}{rest}; the statistics are over "
            f"these {basins.same_basin}\ncertificates are local: they hold unless the Hessian changes "
            f"{format_number(basins.smallest_margin)} times faster than measured",
            "basins",
            test_index=target,
            **asdict(basins),
        )
    say(
        "no certificates: training went on, to no minimum; with nothing removed that changes the loss by "
        f"{point.null_control:.1e}"
        if math.isinf(point.max_certificate)
        else f"largest {'' if basins is None else 'local '}certificate {point.max_certificate:.1e}; "
        f"null control {point.null_control:.1e} (certificate {point.null_control_certificate:.1e})",
        "certified",
        test_index=target,
        max_certificate=point.max_certificate,
        null_control=point.null_control,
        null_control_certificate=point.null_control_certificate,
    )


def _agreement_table(
    title: str, words: Sequence[str], numbers: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> Table:
    """A row each: what it is of, in words, then its numbers."""
    table = result_table(title)
    for name in words:
        table.add_column(name.replace("_", " "), no_wrap=True)
    for name in numbers:
        table.add_column(name.replace("max_abs_error", "max error"), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(str(row[name]) for name in words), *(_cell(name, row[name]) for name in numbers))
    return table


@words
def _(found: Swept) -> None:
    rows = [{str(key): value for key, value in row.items()} for row in found.table.to_dict("records")]
    several = found.table["test_index"].nunique() > 1 and "test_index" not in found.keys
    named = ["run", *found.keys, *(["test_index"] if several else []), "method"]
    shown, title = rows[:MOST_ROWS], "actual change on predicted change"
    if len(shown) < len(rows):
        title += f": the first {len(shown)} of {len(rows)} rows"
    numbers = ("pearson", "slope", "intercept", "max_abs_error", "points")
    show(_agreement_table(title, named, numbers, shown), "sweep", rows)


def _cell(name: str, value: Any) -> str:
    return "undefined" if math.isnan(value) else format(value, FORMATS.get(name, ".1e"))


@words
def _(found: Reported) -> None:
    size = found.num_bytes / 1e6
    say(f"wrote {found.page} ({size:.1f} MB); open it in a browser", "wrote", files=[found.page])
