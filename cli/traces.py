"""plots/trace_METHOD: how a method's iteration went, drawn from its record."""

import math
from typing import Any

from cli.compose import Config
from cli.figures import write_figure
from cli.run_folder import RunFolder
from plots.trace import draw_trace

FEWEST_STEPS = 3
"""What takes fewer steps has no figure."""


def draw_traces(folder: RunFolder, config: Config, record: dict[str, Any]) -> None:
    """Draw the iterations that a record holds, also those that failed."""
    method, solutions = record["method"], record["solutions"]
    traces = {
        # JSON has no infinity, so the record has null where a norm overflowed.
        f"test point {found['test_index']}": [(s, math.inf if x is None else x) for s, x in found["trace"]]
        for found in solutions
    }
    if max((step for trace in traces.values() for step, _ in trace), default=0) < FEWEST_STEPS:
        return
    figure = draw_trace(traces, title=method, label=solutions[0]["traced"])
    write_figure(folder, config, figure, f"trace_{method}")


def draw_missing_traces(folder: RunFolder, config: Config, record: dict[str, Any]) -> None:
    """Draw them where a figure was lost."""
    paths = [folder.figure(suffix, f"trace_{record['method']}") for suffix in config["plot"]["formats"]]
    if not all(path.exists() for path in paths):
        draw_traces(folder, config, record)
