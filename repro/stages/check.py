"""`repro check`: does everything in a finished run folder follow from the data and the stored weights?"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cli.console import say
from cli.progress import Standing, progress_bar
from cli.verdicts import say_verdict
from diagnosis.verdict import Verdict
from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from plots.agreement import agreement
from repro.configuration.compose import Config
from repro.configuration.mistakes import no_run
from repro.errors import StageError, UsageError
from repro.folder.checked_files import check_files, check_page
from repro.folder.inside import refuse_what_leads_out
from repro.folder.paths import RunFolder
from repro.folder.recorded_config import recorded_config, recorded_dataset
from repro.printable import printable
from repro.problem import compute_device, load_model, make_risk
from repro.records.influence import read_record, read_table
from repro.solving import make_retrainer, refuse_other_models
from retrain.changes import Changes
from retrain.recheck import Rechecked
from retrain.removal import leave_one_out
from retrain.retrainer import with_null_control

ROUNDING = 1e-9
"""Relative difference that another order of summation may make in a change of the loss."""
FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What computing with numbers and names of another form raises."""
REMEDY = "`repro run` with the same configuration sets aside what is damaged and makes it again"


def check(path: Path, data_root: str | None) -> None:
    """Print a verdict a line. Nothing in the folder is changed.

    Args:
        path: the run folder.
        data_root: where the data lie now, a folder or for data=npz a file; None for where they lay.

    Raises:
        UsageError: there is no run in the folder, or it leads out of it, or names code that is neither this
            tool's nor trusted.
        StageError: something does not follow.
    """
    folder = RunFolder(path)
    if not folder.path.is_dir() or not folder.manifest.exists():
        raise UsageError(no_run(path, folder.manifest.name))
    refuse_what_leads_out(folder.path)
    verdicts = [check_files(folder)]
    say_verdict(verdicts[0])
    if verdicts[0].passed:
        config = recorded_config(folder)
        dataset = recorded_dataset(config, data_root)
        for verdict in _contents_or_fault(folder, config, dataset):
            say_verdict(verdict)
            verdicts.append(verdict)
    bad = sum(verdict.passed is False for verdict in verdicts)
    if bad:
        raise StageError(f"{bad} of {len(verdicts)} checks failed. {REMEDY}")
    unchecked = ", ".join(verdict.check for verdict in verdicts if verdict.passed is None)
    if unchecked:
        say(f"What {path} holds follows from the data as far as it goes; not checked: {unchecked}.")
        return
    say(f"Everything in {path} follows from the data and the stored weights.")


def _contents_or_fault(folder: RunFolder, config: Config, dataset: Dataset) -> list[Verdict]:
    """The verdicts on what the files say; one, if a file says what cannot be understood.

    The checksums have matched, so a table or record of another form is none that this tool has written.
    """
    try:
        return _contents(folder, config, dataset)
    except FAULTS as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        form = "a file is not of the form that this tool writes"
        return [Verdict(check="contents", passed=False, evidence=f"{form} ({said})")]


def _contents(folder: RunFolder, config: Config, dataset: Dataset) -> list[Verdict]:
    device = compute_device(config)
    risk = make_risk(config, dataset, device)
    refuse_other_models(config, risk)
    model = load_model(folder, config, dataset, device)
    verdicts = [_fit(risk, model.theta, model.facts)]
    try:
        table = pd.read_csv(folder.table)
        summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        evidence = f"no {Path(error.filename).name} yet; `repro run` with this configuration makes it"
        return [*verdicts, Verdict(check="table", passed=None, evidence=evidence)]
    except (OSError, ValueError, RecursionError) as error:
        missing = Verdict(check="table", passed=None, evidence=f"the table cannot be read ({error})")
        return [*verdicts, missing]
    table["method"] = table["method"].map(lambda name: printable(str(name)))
    _check_indices(table, dataset)
    targets = list(dict.fromkeys(table["test_index"].tolist()))
    x_test, y_test = torch.from_numpy(dataset.x_test[targets]), torch.from_numpy(dataset.y_test[targets])
    retrainer = make_retrainer(folder, config, risk, model.theta, model.key, warn=lambda _: None)
    wanted = with_null_control(leave_one_out(table["train_index"]))
    plain: list[Rechecked] = []
    with progress_bar("checking") as bar:
        for part in retrainer.recheck(x_test, y_test, wanted):
            plain.append(part)
            done = sum(len(found.removals) for found in plain)
            bar.update(Standing(stage="plain formulas", done=done, total=len(wanted), unit="models"))
    truth = retrainer.changes(x_test, y_test, wanted)
    return [
        *verdicts,
        _gradients(plain),
        _actual(table, targets, truth, plain),
        _predicted(folder, table, model.key, risk.num_examples),
        _summary(table, targets, summary, truth),
        *check_page(folder),
    ]


def _check_indices(table: pd.DataFrame, dataset: Dataset) -> None:
    """Raise IndexError for an index that is none: numpy takes negative ones, counted from the end."""
    for column, labels in (("test_index", dataset.y_test), ("train_index", dataset.y_train)):
        indices = table[column].to_numpy(dtype=np.int64)
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= len(labels):
            raise IndexError(f"{column} of the table: expected 0 … {len(labels) - 1}")


def _fit(risk: EmpiricalRisk, theta: torch.Tensor, facts: dict[str, Any]) -> Verdict:
    norm, value = float(risk.gradient(theta).norm()), float(risk.value(theta))
    same = (
        math.isclose(value, facts["objective"], rel_tol=1e-12) and norm <= 2 * facts["gradient_norm"] + 1e-12
    )
    return Verdict(
        check="θ̂",
        passed=same and bool(facts["converged"]),
        evidence=f"R(θ̂) = {value:.10f} and ‖∇R(θ̂)‖ = {norm:.1e} on the data, as recorded",
    )


def _gradients(plain: list[Rechecked]) -> Verdict:
    norms = np.concatenate([found.gradient_norms for found in plain])
    others = int((~np.concatenate([found.as_recorded for found in plain])).sum())
    return Verdict(
        check="leave-one-out models",
        passed=others == 0,
        evidence=(
            f"{len(norms)} models, ‖∇R₋ᵢ‖ recomputed from the data by plain float64 formulas: at most "
            f"{norms.max():.1e}, {others} of them not as recorded, beyond rounding"
        ),
    )


def _actual(table: pd.DataFrame, targets: list[int], truth: Changes, plain: list[Rechecked]) -> Verdict:
    """The table's actual changes and certificates are those of the weights, found in two ways."""
    column_of = {rows: column for column, rows in enumerate(truth.removals)}
    plain_changes = {
        rows: found.actual_change[:, column] for found in plain for column, rows in enumerate(found.removals)
    }
    differences = {"weights": 0.0, "plain losses": 0.0, "certificates": 0.0}
    missing = 0
    for row in table.itertuples():
        target, removed = targets.index(int(str(row.test_index))), (int(str(row.train_index)),)
        if removed not in column_of:
            missing += 1
            continue
        actual, certificate = float(str(row.actual_change)), float(str(row.certificate))
        found = {
            "weights": truth.actual_change[target, column_of[removed]] - actual,
            "plain losses": plain_changes[removed][target] - actual,
            "certificates": truth.bound[target, column_of[removed]] - certificate,
        }
        differences = {name: max(differences[name], abs(float(found[name]))) for name in differences}
    scale = float(table["actual_change"].abs().max())
    passed = missing == 0 and max(differences.values()) <= ROUNDING * max(scale, 1.0)
    return Verdict(
        check="actual changes",
        passed=passed,
        evidence=(
            f"{len(table)} rows against the stored weights: {missing} without a model; changes differ by at "
            f"most {differences['weights']:.1e}, from plain differences of losses by "
            f"{differences['plain losses']:.1e}, certificates by {differences['certificates']:.1e}"
        ),
    )


def _predicted(folder: RunFolder, table: pd.DataFrame, key: str, num_examples: int) -> Verdict:
    """Predictions in the table are those of the methods' own tables, which are −I_up,loss/n."""
    faults = []
    for method, rows in table.groupby("method"):
        record = read_record(folder, str(method))
        own = None if record is None else read_table(folder, record)
        if record is None or own is None or record["model_checksum"] != key:
            faults.append(f"{method} has no predictions of this θ̂")
            continue
        joined = rows.merge(own, on=["test_index", "train_index"], suffixes=("", "_own"), how="left")
        if not np.array_equal(joined["predicted_change"], joined["predicted_change_own"]):
            faults.append(f"{method}: the table's predictions are not those of influence/{method}.csv")
        if not np.allclose(own["predicted_change"], -own["influence"] / num_examples, rtol=1e-12, atol=0):
            faults.append(f"{method}: predicted changes are not −I_up,loss/n")
    return Verdict(
        check="predictions",
        passed=not faults,
        evidence="; ".join(faults) or "every prediction is in its method's own table, and is −I_up,loss/n",
    )


def _summary(table: pd.DataFrame, targets: list[int], summary: dict[str, Any], truth: Changes) -> Verdict:
    points = summary.get("test_points", {str(targets[0]): summary})
    faults = []
    nothing = truth.null_control
    for row, target in enumerate(targets):
        point = points.get(str(target), {})
        if not math.isclose(
            point.get("null_control", math.nan), truth.actual_change[row, nothing], abs_tol=1e-12
        ):
            faults.append(f"null control of test point {target}")
        for method, rows in table[table["test_index"] == target].groupby("method"):
            found = asdict(agreement(rows["predicted_change"].to_numpy(), rows["actual_change"].to_numpy()))
            recorded = point.get("methods", {}).get(method, {})
            faults += [
                f"{name} of {method} for test point {target}"
                for name, value in found.items()
                if not _same(recorded.get(name), value)
            ]
    return Verdict(
        check="summary",
        passed=not faults,
        evidence="does not follow from the table: " + ", ".join(faults)
        if faults
        else "every statistic follows from the table, and the null control from the weights",
    )


def _same(recorded: float | None, value: float) -> bool:
    if recorded is None:
        return math.isnan(value)
    return math.isclose(recorded, value, rel_tol=1e-9, abs_tol=1e-15)
