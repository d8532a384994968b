"""`repro sweep`: the cross product of values by Hydra's own multirun, then one table and one figure."""

import hashlib
import itertools
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins

from erm.files import write_atomically, write_json
from plots.style import save
from plots.sweep import draw_sweep
from repro.configuration.compose import Config, compose_methods, parse_overrides, refuse_moved_keys
from repro.configuration.files import own_folder, search_path
from repro.configuration.mistakes import no_launcher
from repro.errors import StageError, UsageError
from repro.folder.inside import refuse_what_leads_out
from repro.listener import Listener
from repro.notices import note
from repro.printable import printable
from repro.selection import refuse_groups
from repro.session import Session
from repro.sweep.job import METHODS_FILE, job, output_dir, read_job
from repro.sweep.table import joined
from repro.sweep.test_points import KEY, UNRESOLVED, CommonPoints, check_same_examples, first_misclassified

LAUNCHER = "hydra/launcher"
OWN_KEYS = ("output_dir", "experiment")
RUN = "run-"
SWEEP_FILE = "sweep.json"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a command line lets each key be, in its order: the runs are the cross product."""

    keys: tuple[str, ...]
    overrides: tuple[tuple[str, ...], ...]
    """KEY=VALUE for each value of each key."""

    @property
    def swept(self) -> list[str]:
        """The keys of several values."""
        return [key for key, values in zip(self.keys, self.overrides, strict=True) if len(values) > 1]

    def runs(self) -> list[list[str]]:
        """The overrides of each run, numbered as Hydra's sweeper does."""
        return [list(values) for values in itertools.product(*self.overrides)]

    def name(self, run: list[str]) -> str:
        """A run by what is particular about it."""
        return " ".join(text for key, text in zip(self.keys, run, strict=True) if key in self.swept)


def sweep(overrides: list[str], methods: list[str], out: Path | None, listener: Listener) -> None:
    """Run every combination, skipping what is done; write sweep.csv, sweep.png and sweep.pdf.

    All runs explain the same test points. Where the first misclassified one is asked for, it is that of the
    first run, unless the test points themselves are swept over.

    Args:
        overrides: KEY=VALUE, and KEY=a,b,c for what is swept over; hydra/launcher=… goes to Hydra.
        methods: of every run.
        out: where the runs lie, one folder each; None names a folder by a hash of overrides and methods.
        listener: who follows the work that is done here.

    Raises:
        UsageError: an override is wrong, nothing is swept over, or a test point is not the same in all data.
        StageError: runs failed; the table and the figure show the others.
    """
    choices = _check(overrides, methods)
    folder = out or default_folder(overrides, methods)
    refuse_what_leads_out(folder)
    _check_same_sweep(folder, overrides, methods)
    points = _common_points(folder, choices, methods, listener)
    write_json(folder / METHODS_FILE, methods)
    _run_all(folder, _pinned(overrides, points))
    found = [read_job(path) for path in (folder / "jobs").glob("*.json")]
    records = [record for record in found if record is not None]
    table = joined(folder, records, choices.swept, None if points is None else points.test_index)
    failed = [record for record in records if record.exit_code != 0]
    if len(table):
        write_atomically(folder / "sweep.csv", lambda path: table.to_csv(path, index=False))
        figure = draw_sweep(table, choices.swept, "" if points is None else points.description)
        for suffix in ("png", "pdf"):
            write_atomically(folder / f"sweep.{suffix}", lambda path: save(figure, path))
        files = [folder / f"sweep.{suffix}" for suffix in ("csv", "png", "pdf")]
        note(f"wrote {files[0]}, {files[1]} and .pdf", "wrote", files=files, runs=len(records))
    if failed:
        lines = "\n".join(f"  {' '.join(record.overrides)}" for record in failed)
        raise StageError(f"{len(failed)} of {len(records)} runs failed; each has said why:\n{lines}")


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
        job()
    finally:
        sys.argv = before


def _check(overrides: list[str], methods: list[str]) -> Choices:
    """What is swept over, after every value of each key was checked beside the first values of the others."""
    refuse_moved_keys(overrides)
    parsed = [found for found in parse_overrides(overrides) if not _is_hydras(found)]
    choices = [_values(found) for found in parsed]
    _check_launcher(overrides)
    for found in parsed:
        if found.key_or_group in OWN_KEYS:
            raise UsageError(f"{found.input_line}: not in a sweep, which names its folders itself (--out)")
    first = [values[0] for values in choices]
    for position, values in enumerate(choices):
        for value in values:
            for config in compose_methods([*first[:position], value, *first[position + 1 :]], methods):
                refuse_groups(config, "the table of a sweep")
    if f"{KEY}={UNRESOLVED}" in itertools.chain(*(values for values in choices if len(values) > 1)):
        raise UsageError(f"{KEY}: {UNRESOLVED} is no value to sweep over; name points, such as {KEY}=3,14")
    keys = tuple(str(found.key_or_group) for found in parsed)
    found_choices = Choices(keys=keys, overrides=tuple(map(tuple, choices)))
    if not found_choices.swept:
        raise UsageError(
            "nothing to sweep over: give at least one KEY=a,b,c, such as model.l2=0.001,0.01,0.1"
        )
    return found_choices


def _common_points(
    folder: Path, choices: Choices, methods: list[str], listener: Listener
) -> CommonPoints | None:
    """What all runs explain, written into sweep.json; None where it is swept over."""
    if KEY in choices.swept:
        return None
    runs = choices.runs()

    def session_of(number: int) -> Session:
        own = output_dir(folder / f"{RUN}{number}")
        return Session(compose_methods([*runs[number], own], methods)[0], listener)

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
    check_same_examples(points, _data_choices(choices, methods))
    write_json(path, written | asdict(points))
    note(points.description, "test_points", test_index=points.test_index)
    return points


def _data_choices(choices: Choices, methods: list[str]) -> dict[str, Config]:
    """One configuration for each choice of the data; none where there is but one."""
    of_data = tuple(
        values if key.split(".")[0] == "data" else values[:1]
        for key, values in zip(choices.keys, choices.overrides, strict=True)
    )
    varied = Choices(keys=choices.keys, overrides=of_data)
    if not varied.swept:
        return {}
    return {varied.name(run): compose_methods(run, methods)[0] for run in varied.runs()}


def _pinned(overrides: list[str], points: CommonPoints | None) -> list[str]:
    """The overrides with the test points of all runs in place of how they were asked for."""
    if points is None:
        return overrides
    return [*(text for text in overrides if text.split("=")[0] != KEY), points.override]


def _check_launcher(overrides: list[str]) -> None:
    """Refuse a launcher that is not installed, which Hydra would do in many lines."""
    Plugins.instance()  # registers what is installed
    own = own_folder()
    files = [] if own is None else (own / "hydra" / "launcher").glob("*.yaml")
    known = {name.removesuffix(".yaml") for name in ConfigStore.instance().list(LAUNCHER)}
    known |= {path.stem for path in files}
    for found in parse_overrides(overrides):
        if found.key_or_group == LAUNCHER and str(found.value()) not in known:
            raise UsageError(no_launcher(str(found.value()), sorted(known)))


def _values(override: Override) -> list[str]:
    """KEY=VALUE for each value."""
    if not override.is_sweep_override():
        assert override.input_line is not None
        return [override.input_line]
    return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]


def _is_hydras(override: Override) -> bool:
    return override.key_or_group.split("/")[0].split(".")[0] == "hydra"


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
