"""`repro sweep`: the cross product of values by Hydra's own multirun, then one table and one figure."""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.override_parser.types import Override

from cli.compose import compose_methods, parse_overrides
from cli.config_files import search_path
from cli.console import say
from cli.errors import StageError, UsageError
from cli.inside import refuse_what_leads_out
from cli.printable import printable
from cli.sweep_job import METHODS_FILE, job, read_job
from erm.files import write_atomically, write_json
from plots.style import save
from plots.sweep import draw_sweep

SWEEP_FILE = "sweep.json"
OWN_KEYS = ("output_dir", "experiment")
SUBFOLDER = "run-${hydra.job.num}"


def sweep(overrides: list[str], methods: list[str], folder: Path) -> None:
    """Run every combination, skipping what is done; write sweep.csv, sweep.png and sweep.pdf.

    Args:
        overrides: KEY=VALUE, and KEY=a,b,c for what is swept over; hydra/launcher=… goes to Hydra.
        methods: of every run.
        folder: where the runs lie, one folder each.

    Raises:
        UsageError: an override is wrong, or nothing is swept over.
        StageError: runs failed; the table and the figure show the others.
    """
    swept = _check(overrides, methods)
    refuse_what_leads_out(folder)
    _check_same_sweep(folder, overrides, methods)
    write_json(folder / METHODS_FILE, methods)
    quiet = ["hydra/job_logging=disabled", "hydra/hydra_logging=disabled", "hydra.output_subdir=null"]
    where = [f"hydra.sweep.dir='{folder.absolute()}'", f"hydra.sweep.subdir={SUBFOLDER}"]
    before = sys.argv
    # Hydra's engine takes its overrides from the command line.
    sys.argv = ["repro sweep", "--multirun", *quiet, *where, *search_path(), *overrides]
    try:
        job()
    finally:
        sys.argv = before
    found = [read_job(path) for path in (folder / "jobs").glob("*.json")]
    records = [record for record in found if record is not None]
    table = _joined(folder, records, swept)
    failed = [record for record in records if record["exit_code"] != 0]
    if len(table):
        write_atomically(folder / "sweep.csv", lambda path: table.to_csv(path, index=False))
        figure = draw_sweep(table, swept)
        for suffix in ("png", "pdf"):
            write_atomically(folder / f"sweep.{suffix}", lambda path: save(figure, path))
        files = [folder / f"sweep.{suffix}" for suffix in ("csv", "png", "pdf")]
        say(f"wrote {files[0]}, {files[1]} and .pdf", "wrote", files=files, runs=len(records))
    if failed:
        lines = "\n".join(f"  {' '.join(record['overrides'])}" for record in failed)
        raise StageError(f"{len(failed)} of {len(records)} runs failed; each has said why:\n{lines}")


def _check(overrides: list[str], methods: list[str]) -> list[str]:
    """The keys swept over, after every value of each was checked beside the first values of the others."""
    parsed = [found for found in parse_overrides(overrides) if not _is_hydras(found)]
    choices = [_values(found) for found in parsed]
    for found in parsed:
        if found.key_or_group in OWN_KEYS:
            raise UsageError(f"{found.input_line}: not in a sweep, which names its folders itself (--out)")
    first = [values[0] for values in choices]
    for position, values in enumerate(choices):
        for value in values:
            compose_methods([*first[:position], value, *first[position + 1 :]], methods)
    swept = [found.key_or_group for found, values in zip(parsed, choices, strict=True) if len(values) > 1]
    if not swept:
        raise UsageError(
            "nothing to sweep over: give at least one KEY=a,b,c, such as model.l2=0.001,0.01,0.1"
        )
    return swept


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
    if theirs != ours:
        raise StageError(f"{folder} holds another sweep: {_words(theirs)}. Choose another --out")


def _words(sweep: Any) -> str:
    """What a sweep.json says, on one line, whatever it says."""
    try:
        return printable(f"{' '.join(sweep['overrides'])} by {', '.join(sweep['methods'])}")
    except (KeyError, TypeError):
        return f"{SWEEP_FILE} is not as this tool writes it"


def _joined(folder: Path, records: list[dict[str, Any]], swept: list[str]) -> pd.DataFrame:
    """One row a run, test point and method: the values swept over, then the statistics of its summary."""
    rows = []
    for record in records:
        values = dict(text.split("=", 1) for text in record["overrides"])
        if not set(swept) <= values.keys():
            continue
        try:
            summary = json.loads((folder / record["folder"] / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        points = summary.get("test_points", {"": summary})
        for (target, point), key in itertools.product(points.items(), ("methods",)):
            rows += [
                {"run": record["folder"], **{name: values[name] for name in swept}, "test_index": target}
                | {"method": method, **result, "max_certificate": point["max_certificate"]}
                for method, result in point[key].items()
            ]
    table = pd.DataFrame(rows)
    for name in swept if len(table) else ():
        # Numbers as numbers, so that they sort and have an axis.
        converted = pd.to_numeric(table[name], errors="coerce")
        table[name] = table[name] if converted.isna().any() else converted
    return table.sort_values(swept) if len(table) else table
