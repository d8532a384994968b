"""`repro sweep`: the cross product of values by Hydra's own multirun, then one table and one figure."""

import hashlib
import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from erm.files import write_atomically, write_json
from plots.style import save
from plots.sweep import draw_sweep
from repro.configuration.compose import Config, compose_methods
from repro.configuration.files import search_path
from repro.configuration.grammar import override
from repro.errors import StageError
from repro.folder.inside import refuse_what_leads_out
from repro.listener import Listener
from repro.notices import note
from repro.printable import printable
from repro.selection import refuse_groups
from repro.session import Session
from repro.sweep.choices import KEY, Choices
from repro.sweep.job import METHODS_FILE, job, read_job
from repro.sweep.table import joined
from repro.sweep.test_points import CommonPoints, check_same_examples, first_misclassified

RUN = "run-"
SWEEP_FILE = "sweep.json"
TABLE = "sweep.csv"


@dataclass(frozen=True, kw_only=True)
class Swept:
    """The runs of a sweep as one table: see `repro.sweep.table.joined`."""

    table: pd.DataFrame
    keys: list[str]
    """Those swept over."""


def sweep(choices: Choices, out: Path | None, listener: Listener) -> None:
    """Run every combination, skipping what is done; write sweep.csv, sweep.png and sweep.pdf.

    All runs explain the same test points. Where the first misclassified one is asked for, it is that of the
    first run, unless the test points themselves are swept over.

    Args:
        choices: what the command line lets each key be.
        out: where the runs lie, one folder each; None names a folder by a hash of overrides and methods.
        listener: who follows the work that is done here.

    Raises:
        UsageError: a run makes groups, or a test point is not the same in all data.
        StageError: runs failed; the table and the figure show the others.
    """
    for config in choices.configs:
        refuse_groups(config, "the table of a sweep")
    folder = out or default_folder(choices.typed, choices.methods)
    refuse_what_leads_out(folder)
    _check_same_sweep(folder, choices.typed, choices.methods)
    _announce(choices, folder)
    points = _common_points(folder, choices, listener)
    write_json(folder / METHODS_FILE, choices.methods)
    _run_all(folder, _pinned(choices.typed, points))
    records = [found for path in (folder / "jobs").glob("*.json") if (found := read_job(path)) is not None]
    swept = list(choices.swept)
    table = joined(folder, records, swept, None if points is None else points.test_index)
    failed = [record for record in records if record.exit_code != 0]
    if len(table):
        write_atomically(folder / TABLE, lambda path: table.to_csv(path, index=False))
        figure = draw_sweep(table, swept, "" if points is None else points.description)
        for suffix in ("png", "pdf"):
            write_atomically(folder / f"sweep.{suffix}", lambda path: save(figure, path))
        listener.result(Swept(table=table, keys=swept))
        files = [folder / f"sweep.{suffix}" for suffix in ("csv", "png", "pdf")]
        note(f"wrote {files[0]}, {files[1]} and .pdf", "wrote", files=files, runs=len(records))
    if failed:
        lines = "\n".join(f"  {' '.join(record.overrides)}" for record in failed)
        raise StageError(f"{len(failed)} of {len(records)} runs failed; each has said why:\n{lines}")


def _announce(choices: Choices, folder: Path) -> None:
    """What is about to be run, and where the result will lie."""
    note(
        f"{choices.description}; the result will be {folder / TABLE}",
        "sweep",
        runs=len(choices.runs()),
        values=choices.swept,
        methods=choices.methods,
        folder=folder,
    )


def default_folder(overrides: list[str], methods: list[str]) -> Path:
    """The folder of this sweep, and of no other."""
    digest = hashlib.sha256(json.dumps([overrides, methods]).encode()).hexdigest()
    return Path("outputs") / f"sweep-{digest[:8]}"


def _run_all(folder: Path, overrides: list[str]) -> None:
    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null"]
    where = [
        f"hydra.sweep.dir='{folder.absolute()}'",
        f"hydra.sweep.subdir={RUN}${{hydra.job.num}}",
    ]
    before = sys.argv
    # Hydra's engine takes its overrides from the command line.
    sys.argv = ["repro sweep", "--multirun", *quiet, *where, *search_path(), *overrides]
    try:
        with _help_unread():
            job()
    finally:
        sys.argv = before


@contextmanager
def _help_unread() -> Iterator[None]:
    """Let argparse take a help that is no string, which Hydra 1.3 gives it and Python 3.14 refuses."""
    if not hasattr(ArgumentParser, "_check_help"):
        yield
        return
    unread: Any = ArgumentParser
    unread._check_help = lambda parser, action: None
    try:
        yield
    finally:
        # What is left is the inherited one.
        del unread._check_help


def _common_points(folder: Path, choices: Choices, listener: Listener) -> CommonPoints | None:
    """What all runs explain, written into sweep.json; None where it is swept over."""
    if KEY in choices.swept:
        return None
    runs = choices.runs()

    def session_of(number: int) -> Session:
        own = override("output_dir", str((folder / f"{RUN}{number}").absolute()))
        return Session(compose_methods([*runs[number], own], choices.methods)[0], listener)

    path = folder / SWEEP_FILE
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked = session_of(0).config.test_points
    if asked is not None:
        points = CommonPoints(test_index=asked)
    elif "test_index" in written:
        points = CommonPoints(
            test_index=tuple(int(index) for index in written["test_index"]),
            misclassified_by=printable(str(written["misclassified_by"])),
        )
    else:
        points = first_misclassified([choices.name(run) for run in runs], session_of)
    check_same_examples(points, _data_choices(choices))
    write_json(path, written | asdict(points))
    note(points.description, "test_points", test_index=points.test_index)
    return points


def _data_choices(choices: Choices) -> dict[str, Config]:
    """One configuration for each choice of the data; none where there is but one."""
    of_data = tuple(
        values if key.split(".")[0] == "data" else values[:1]
        for key, values in zip(choices.keys, choices.overrides, strict=True)
    )
    varied = Choices(keys=choices.keys, overrides=of_data)
    if not varied.swept:
        return {}
    return {varied.name(run): compose_methods(run, choices.methods)[0] for run in varied.runs()}


def _pinned(overrides: list[str], points: CommonPoints | None) -> list[str]:
    """The overrides with the test points of all runs in place of how they were asked for."""
    if points is None:
        return overrides
    return [*(text for text in overrides if text.split("=")[0] != KEY), points.override]


def _check_same_sweep(folder: Path, overrides: list[str], methods: list[str]) -> None:
    """A folder belongs to one sweep: its runs are numbered in the order of the command line."""
    path, ours = folder / SWEEP_FILE, {"overrides": overrides, "methods": methods}
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_json(path, ours)
        return
    except (OSError, ValueError, RecursionError) as error:
        raise StageError(f"{path} cannot be read ({error}); choose another --out") from error
    if not isinstance(theirs, dict) or {key: theirs.get(key) for key in ours} != ours:
        raise StageError(f"{folder} holds another sweep: {_words(theirs)}. Choose another --out")


def _words(sweep: Any) -> str:
    """What a sweep.json says, on one line, whatever it says."""
    try:
        return printable(f"{' '.join(sweep['overrides'])} by {', '.join(sweep['methods'])}")
    except (KeyError, TypeError):
        return f"{SWEEP_FILE} is not as this tool writes it"
