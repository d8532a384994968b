"""One job of `repro sweep`, as Hydra's launcher calls it: `repro run` in a process of its own."""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import BaseModel, ConfigDict

from erm.files import write_json
from repro.configuration.compose import Config, compose_methods
from repro.configuration.files import CONFIG_FOLDER
from repro.configuration.grammar import override
from repro.folder.inside import refuse_what_leads_out
from repro.folder.manifest import write_result
from repro.folder.naming import describe_differences, determining
from repro.folder.opening import open_run
from repro.folder.paths import RunFolder
from repro.printable import printable_strings
from repro.program import program
from repro.records.model import stored_facts

METHODS_FILE = "methods.json"


class SweepRun(BaseModel):
    """jobs/NUMBER.json: a run of the sweep that has ended."""

    model_config = ConfigDict(strict=True, frozen=True)
    overrides: list[str]
    """KEY=VALUE each, less the folder."""
    folder: str
    exit_code: int


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")
def job(tree: DictConfig) -> None:
    """Run one point of the sweep and leave jobs/NUMBER.json. A failure is recorded, and the others go on."""
    context = HydraConfig.get()
    folder, number = Path(context.sweep.dir), int(context.job.num)
    overrides = list(context.overrides.task)
    methods: list[str] = json.loads((folder / METHODS_FILE).read_text(encoding="utf-8"))
    run = Path(context.runtime.output_dir)
    done = folder / "jobs" / f"{number}.json"
    if _is_done(done, run, overrides):
        return
    command = ["run", *(word for name in methods for word in ("--method", name)), *overrides]
    _share_model(folder, run, compose_methods(overrides, methods)[0])
    ended = start(command, run)
    record = SweepRun(overrides=overrides, folder=run.name, exit_code=ended.returncode)
    write_json(done, record.model_dump())


def start(command: list[str], run: Path) -> "subprocess.CompletedProcess[bytes]":
    """Run a command of this program on a run folder, in a process of its own, to its end."""
    return subprocess.run([program(), *command, override("output_dir", str(run.absolute()))], check=False)


def _is_done(record: Path, run: Path, overrides: list[str]) -> bool:
    ended = read_job(record)
    same = ended is not None and ended.exit_code == 0 and ended.overrides == overrides
    return same and RunFolder(run).summary.exists()


def read_job(path: Path) -> SweepRun | None:
    """The record of a job; None when it is missing, damaged or not as this tool writes it."""
    try:
        content = printable_strings(json.loads(path.read_text(encoding="utf-8")))
        record = SweepRun.model_validate(content)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    sound = record.folder == f"run-{path.stem}" and all("=" in text for text in record.overrides)
    return record if sound else None


def _share_model(folder: Path, run: Path, config: Config) -> None:
    """Start from the θ̂ and the leave-one-out models of a run of this sweep whose θ̂ is the same one."""
    own = RunFolder(run)
    if own.model.exists():
        return
    for other in map(RunFolder, sorted(folder.glob("run-*"))):
        refuse_what_leads_out(other.path)
        facts = stored_facts(other)
        if facts is None or describe_differences(facts.configuration, determining(config.values)):
            continue
        own.weights.mkdir(parents=True, exist_ok=True)
        with open_run(own):
            write_result(own, own.model, functools.partial(shutil.copy, other.model))
        for weights in other.weights.glob("[!.]*.safetensors"):
            # A link: weight files are never changed, only set aside.
            if not (own.weights / weights.name).exists():
                os.link(weights, own.weights / weights.name)
        return
