"""How a run was made, for the report: its stages and traces, what it was made from, how to make it again."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from cli.compose import SELECTION_KEYS, Config, compose
from cli.config_files import VARIABLE, own_folder
from cli.manifest import read_manifest
from cli.predictions import Prediction
from cli.retrain_record import read_runs
from cli.run_folder import RunFolder
from cli.stages.plot import Plotted
from cli.stages.retrain import weight_cache
from report.content import Making, Stage, Trace
from report.verdict import format_number
from retrain.removal import NOTHING

FEWEST_STEPS = 3
"""An iteration of fewer steps has no trace worth drawing."""
LAST_RUNS = 6
"""Retrainings whose traces are drawn."""


def describe_making(folder: RunFolder, config: Config, plotted: Plotted) -> Making:
    """All that the page says of how the run was made."""
    return Making(
        commands=_commands(config, plotted.predictions),
        stages=_stages(folder, plotted),
        traces=[*_fit_trace(plotted), *_influence_traces(plotted), *_retrain_trace(folder)],
        facts=_facts(plotted),
        checksums=_checksums(folder),
        configuration=OmegaConf.to_yaml(OmegaConf.create(config.values)).rstrip(),
    )


def _checksums(folder: RunFolder) -> dict[str, str]:
    """Of every result but the page itself, which cannot hold its own."""
    known = read_manifest(folder) or {}
    page = folder.report.relative_to(folder.path).as_posix()
    return {name: checksums[-1] for name, checksums in known.items() if name != page}


def _commands(config: Config, predictions: Sequence[Prediction]) -> list[str]:
    """The command lines that make this run and this page again."""
    shared = [text for text in config.overrides if not _is_of_a_method(text)]
    own = {p.method: _own_settings(p.method, p.record["settings"]) for p in predictions}
    if any(own.values()):
        stages = [
            ["train", *shared],
            *(["influence", "--method", method, *shared, *settings] for method, settings in own.items()),
            ["retrain", *shared],
        ]
    else:
        stages = [["run", *(word for method in own for word in ("--method", method)), *shared]]
    folder = own_folder()
    environment = [] if folder is None else [f"{VARIABLE}={shlex.quote(str(folder))}"]
    return [
        " ".join([*environment, shlex.join(["repro", *stage])]) for stage in [*stages, ["report", *shared]]
    ]


def _is_of_a_method(override: str) -> bool:
    key = override.split("=")[0].lstrip("+")
    return key == "influence" or (
        key.startswith("influence.") and key.partition(".")[2] not in SELECTION_KEYS
    )


def _own_settings(method: str, settings: Mapping[str, Any]) -> list[str]:
    """The overrides that lead from the method's file to the settings it ran with."""
    usual = compose([], method).solver_settings
    return [
        f"influence.{key}={'null' if value is None else value}"
        for key, value in settings.items()
        if value != usual.get(key)
    ]


def _stages(folder: RunFolder, plotted: Plotted) -> list[Stage]:
    facts = plotted.model.facts
    ended = (
        f"R(θ̂) = {facts.get('objective', math.nan):.10f}",
        f"‖∇R(θ̂)‖ = {format_number(facts['gradient_norm'])}",
        f"test accuracy {facts.get('test_accuracy', math.nan):.4f}",
    )
    trained = Stage(
        name="train",
        seconds=facts.get("seconds"),
        passes=f"{facts['passes']:,}" if "passes" in facts else "–",
        ended=", ".join(ended),
    )
    return [trained, *_influence_stages(plotted), _retrain_stage(folder, plotted)]


def _influence_stages(plotted: Plotted) -> list[Stage]:
    targets = set(plotted.table["test_index"])
    return [
        Stage(
            name=f"influence, {prediction.method}"
            + (f", test point {solution['test_index']}" if len(targets) > 1 else ""),
            seconds=solution["seconds"],
            passes=_count(solution["hessian_vector_products"]),
            ended=solution["message"],
        )
        for prediction in plotted.predictions
        for solution in prediction.record["solutions"]
        if solution["test_index"] in targets
    ]


def _retrain_stage(folder: RunFolder, plotted: Plotted) -> Stage:
    wanted = {int(index) for index in plotted.table["train_index"]} | {NOTHING}
    runs = read_runs(folder)
    models, passes, largest = 0, 0, 0.0
    for part in weight_cache(folder, plotted.model.key).parts(wanted):
        models, passes = models + len(part.indices), passes + int(part.passes.sum())
        largest = max(largest, float(part.gradient_norms.max()))
    return Stage(
        name="retrain",
        seconds=sum(run["seconds"] for run in runs) if runs else None,
        passes=f"{passes / max(models, 1):.1f} a model",
        ended=f"{models - 1:,} leave-one-out models and the null control, "
        f"‖∇R₋ᵢ‖ at most {format_number(largest)}",
    )


def _count(products: float | None) -> str:
    """Hessian-vector products over all examples; a product of two passes over the data counts as one."""
    return "–" if products is None else f"{products:,.3g}"


def _fit_trace(plotted: Plotted) -> list[Trace]:
    return _trace("train", "‖∇R‖", "pass", {"θ̂": _line(plotted.model.facts.get("trace", []))})


def _influence_traces(plotted: Plotted) -> list[Trace]:
    targets = set(plotted.table["test_index"])
    traces = []
    for prediction in plotted.predictions:
        solutions = [s for s in prediction.record["solutions"] if s["test_index"] in targets]
        lines = {f"test point {s['test_index']}": _line(s["trace"]) for s in solutions}
        traces += _trace(f"influence, {prediction.method}", solutions[0]["traced"], "step", lines)
    return traces


def _retrain_trace(folder: RunFolder) -> list[Trace]:
    lines = {
        f"{run['models']:,} models": _line(run["trace"]) for run in (read_runs(folder) or [])[-LAST_RUNS:]
    }
    return _trace("retrain", "largest ‖∇R₋ᵢ‖", "pass", lines)


def _trace(
    title: str, label: str, step: str, lines: Mapping[str, Sequence[tuple[float, float | None]]]
) -> list[Trace]:
    """One trace, or none if there is too little to see."""
    if max((len(line) for line in lines.values()), default=0) < FEWEST_STEPS:
        return []
    return [
        Trace(
            title=title, label=label, step=step, lines=lines, description=_in_words(title, label, step, lines)
        )
    ]


def _line(trace: Sequence[Sequence[float | None]]) -> list[tuple[float, float | None]]:
    """(step, value) pairs; what a record has beside them is left out."""
    return [(float(entry[0] or 0), entry[1]) for entry in trace]


def _in_words(
    title: str, label: str, step: str, lines: Mapping[str, Sequence[tuple[float, float | None]]]
) -> str:
    ends = [
        f"from {format_number(line[0][1] or math.inf)} to {format_number(line[-1][1] or math.inf)} "
        f"by {step} {line[-1][0]:,.0f}"
        for line in lines.values()
        if line
    ]
    return f"{title}: {label} goes {'; '.join(ends)}."


def _facts(plotted: Plotted) -> dict[str, str]:
    provenance = plotted.model.facts["provenance"]
    versions = ", ".join(f"{name} {number}" for name, number in provenance["versions"].items())
    return {
        "Versions": versions,
        "Machine": f"{provenance['device']}, {provenance['threads']} threads, {provenance['platform']}",
        "Commit": str(provenance["git_commit"] or "installed from a package"),
        "SHA-256 of the data": provenance["data_checksum"],
        "SHA-256 of θ̂": plotted.model.key,
    }
