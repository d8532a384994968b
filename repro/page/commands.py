"""The command lines and the configuration that make a run again, from its records.

What determines θ̂ is the same there and on this command line, or the command would have been refused. The
settings of each method and of the retraining stand in their records, and may be others than those of now.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from repro.configuration.compose import Config
from repro.configuration.defaults import defaults
from repro.configuration.files import VARIABLE, own_folder
from repro.configuration.grammar import override
from repro.configuration.schema import EXTERNAL
from repro.configuration.shortest import shortest_overrides
from repro.departures import departures
from repro.folder.naming import DETERMINES_THETA, run_folder
from repro.page.retraining import Retraining
from repro.predictions import Prediction
from repro.retraining import SOLVER_KEYS

RECORDED = tuple(key for key in SOLVER_KEYS if key != "l2_scaling")
"""Keys of `retrain` that say how models were solved, and not which ones they are."""


def commands(
    config: Config,
    predictions: Sequence[Prediction],
    retraining: Retraining,
    before_page: Sequence[list[str]] = (),
) -> list[str]:
    """The command lines that make this run and its page again, `before_page` what else the page shows."""
    shared = [text for text in shortest_overrides(config) if not _is_recorded(text)]
    external = [p.record.settings for p in predictions if p.record.settings.get("_target_") == EXTERNAL]
    methods = {
        p.method: method_overrides(p.method, p.record.settings)
        for p in predictions
        if p.record.settings.get("_target_") != EXTERNAL
    }
    retrained = [*shared, *_retrain_overrides(retraining)]
    if any(methods.values()):
        lines = [
            ["train", *shared],
            *(["influence", "--method", name, *shared, *own] for name, own in methods.items()),
            ["retrain", *retrained],
        ]
    else:
        lines = [["run", *(word for name in methods for word in ("--method", name)), *retrained]]
    if external:
        files = [str(settings.get("file")) for settings in external]
        lines.append(["score", *files, "--into", str(run_folder(config).path)])
    lines += [*before_page, ["report", *shared]]
    folder = own_folder()
    environment = [] if folder is None else [f"{VARIABLE}={shlex.quote(str(folder))}"]
    return [" ".join([*environment, shlex.join(["repro", *line])]) for line in lines]


def caveat(retraining: Retraining) -> str:
    """Why the commands may not tell all of the retraining; empty where they do."""
    if retraining.timed < retraining.models:
        missing = retraining.models - retraining.timed
        return f"There is no record of how {missing:,} of the {retraining.models:,} models were solved."
    if len(retraining.settings) > 1:
        return "The models were solved by several commands with different settings; the last one's are given."
    return ""


def configuration(config: Config, predictions: Sequence[Prediction], retraining: Retraining) -> str:
    """As YAML: what θ̂, each method and the retraining were really made with."""
    settings = retraining.settings[-1].model_dump(include=set(RECORDED)) if retraining.settings else {}
    values = {
        **{group: config[group] for group in DETERMINES_THETA},
        "test_index": config["test_index"],
        "top_k": config["top_k"],
        "influence": {p.method: p.record.settings for p in predictions},
        "removals": config["removals"],
        "retrain": config["retrain"] | settings,
        "plot": config["plot"],
    }
    return OmegaConf.to_yaml(OmegaConf.create(values)).rstrip()


def method_overrides(method: str, settings: Mapping[str, Any]) -> list[str]:
    """The overrides that lead from the method's file to the settings it ran with."""
    changed = departures(method, settings).items()
    return [override(f"influence.{key}", value) for key, value in changed]


def _is_recorded(override: str) -> bool:
    """Whether a record has the final word on what this override sets."""
    group, _, key = override.split("=")[0].lstrip("+").partition(".")
    return group == "influence" or (group == "retrain" and key in (*RECORDED, "gpus"))


def _retrain_overrides(retraining: Retraining) -> list[str]:
    if not retraining.runs:
        return []
    usual, last = defaults()["retrain"], retraining.runs[-1]
    own = [
        override(f"retrain.{key}", value)
        for key, value in last.settings.model_dump(include=set(RECORDED)).items()
        if value != usual[key]
    ]
    return [*own, *([f"retrain.gpus={last.processes}"] if last.processes > 1 else [])]
