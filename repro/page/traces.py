"""How the iterations of a run went, as the page draws them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from plots.numbers import format_number
from report.content import Trace
from repro.agreement import JoinedChanges
from repro.drawing.traces import is_worth_drawing
from repro.page.retraining import Retraining

Lines = Mapping[str, Sequence[tuple[float, float | None]]]
LAST_RUNS = 6
"""Retrainings whose traces are drawn."""


def traces(joined: JoinedChanges, retraining: Retraining) -> list[Trace]:
    """Those of the fit, of each method and of the retraining that have enough steps to see something."""
    found = [
        _trace("train", "‖∇R‖", "pass", {"θ̂": _line(joined.model.facts.trace)}),
        *_influence_traces(joined),
        _retrain_trace(retraining),
    ]
    return [trace for trace in found if is_worth_drawing(trace.lines.values())]


def _influence_traces(joined: JoinedChanges) -> list[Trace]:
    targets = set(joined.table["test_index"])
    found = []
    for prediction in joined.predictions:
        solutions = [s for s in prediction.record.solutions if s.test_index in targets]
        lines = {f"test point {s.test_index}": _line(s.trace) for s in solutions}
        found.append(_trace(f"influence, {prediction.method}", solutions[0].traced, "step", lines))
    return found


def _retrain_trace(retraining: Retraining) -> Trace:
    lines = {f"{run.models:,} models": _line(run.trace) for run in retraining.runs[-LAST_RUNS:]}
    found = _trace("retrain", "largest ‖∇R₋ᵢ‖", "pass", lines)
    # A model that is done before the last pass may have kept a larger norm than those of the last pass.
    said = (
        f"{found.description} Each point is the largest norm among the models that this pass worked on; the "
        f"largest that any finished model kept is {format_number(retraining.gradient_norm)}."
    )
    return dataclasses.replace(found, description=said)


def _trace(title: str, label: str, step: str, lines: Lines) -> Trace:
    return Trace(
        title=title, label=label, step=step, lines=lines, description=_in_words(title, label, step, lines)
    )


def _line(trace: Sequence[Sequence[float | None]]) -> list[tuple[float, float | None]]:
    """(step, value) pairs; what a record has beside them is left out."""
    return [(float(entry[0] or 0), entry[1]) for entry in trace]


def _in_words(title: str, label: str, step: str, lines: Lines) -> str:
    ends = [
        f"from {_number(line[0][1])} to {_number(line[-1][1])} by {step} {line[-1][0]:,.0f}"
        for line in lines.values()
        if line
    ]
    return f"{title}: {label} goes {'; '.join(ends)}."


def _number(value: float | None) -> str:
    """A record has null where a number overflowed."""
    return format_number(math.inf if value is None else value)
