"""The verdicts of `repro check`: does what a run folder holds follow from the data and the stored weights?"""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import torch

from diagnosis.verdict import Verdict
from erm.risk import EmpiricalRisk
from plots.agreement import agreement, comparable
from plots.numbers import format_number
from repro.folder.paths import RunFolder
from repro.listener import Listener, ProgressReport
from repro.records.basins import basins_of
from repro.records.influence import read_record, read_table
from repro.records.model import ModelFacts
from repro.records.removals import as_stated
from repro.records.summary import Summary
from retrain.changes import Changes
from retrain.recheck import Rechecked
from retrain.removal import Removal
from retrain.retrainer import Retrainer

ROUNDING = 1e-9
"""Relative difference that another order of summation may make in a change of the loss."""


def recheck_all(
    retrainer: Retrainer,
    x_test: torch.Tensor,
    y_test: torch.Tensor,
    wanted: list[Removal],
    listener: Listener,
    task: str,
) -> list[Rechecked]:
    """Models recomputed by plain formulas, some at a time; the listener is told how far it is."""
    plain: list[Rechecked] = []
    with listener.progress(task) as tell:
        for part in retrainer.recheck(x_test, y_test, wanted):
            plain.append(part)
            done = sum(len(found.removals) for found in plain)
            tell(ProgressReport(stage="plain formulas", done=done, total=len(wanted), unit="models"))
    return plain


def check_places(table: pd.DataFrame, column: str, count: int) -> None:
    """Raise IndexError for a place that is none: numpy takes negative ones, counted from the end."""
    places = table[column].to_numpy(dtype=np.int64)
    if len(places) == 0 or places.min() < 0 or places.max() >= count:
        raise IndexError(f"{column} of the table: expected 0 … {count - 1}")


def check_fit(risk: EmpiricalRisk, theta: torch.Tensor, facts: ModelFacts) -> Verdict:
    norm, value = float(risk.gradient(theta).norm()), float(risk.value(theta))
    same = math.isclose(value, facts.objective, rel_tol=1e-12) and norm <= 2 * facts.gradient_norm + 1e-12
    return Verdict(
        check="θ̂",
        passed=same and facts.converged,
        evidence=f"R(θ̂) = {value:.10f} and ‖∇R(θ̂)‖ = {norm:.1e} on the data, as recorded",
    )


def check_gradients(plain: list[Rechecked], check: str = "leave-one-out models") -> Verdict:
    norms = np.concatenate([found.gradient_norms for found in plain])
    others = int((~np.concatenate([found.as_recorded for found in plain])).sum())
    return Verdict(
        check=check,
        passed=others == 0,
        evidence=(
            f"{len(norms)} models, ‖∇R₋ᵢ‖ recomputed from the data by plain float64 formulas: at most "
            f"{norms.max():.1e}, {others} of them not as recorded, beyond rounding"
        ),
    )


def check_basins(plain: list[Rechecked]) -> list[Verdict]:
    """The path from θ̂ to each model ends as its label says; none where there is one minimum."""
    paths = [found.paths for found in plain if found.paths is not None]
    if not paths:
        return []
    points = np.concatenate([found.points for found in paths])
    others = int((~np.concatenate([found.as_recorded for found in paths])).sum())
    followed = f", by up to {points.max()} points" if points.any() else ""
    return [
        Verdict(
            check="basins",
            passed=others == 0,
            evidence=(
                f"{len(points)} models: {int((points == 0).sum())} linked to θ̂ by their certificates, the "
                f"paths of {int((points > 0).sum())} followed again{followed}; {others} are not as labelled"
            ),
        )
    ]


def check_actual_changes(
    table: pd.DataFrame,
    removed: list[Removal],
    targets: list[int],
    truth: Changes,
    plain: list[Rechecked],
) -> Verdict:
    """The table's actual changes and certificates are those of the weights, found in two ways.

    Args:
        table: of points or of groups.
        removed: what each of its rows leaves out.
        targets: its test points.
        truth: the weights' changes.
        plain: those that plain formulas found.
    """
    column_of = {rows: column for column, rows in enumerate(truth.removals)}
    plain_changes = {
        rows: found.actual_change[:, column] for found in plain for column, rows in enumerate(found.removals)
    }
    differences = {"weights": 0.0, "plain losses": 0.0, "certificates": 0.0}
    missing, misnamed, local = 0, 0, truth.margins is not None
    for row, rows in zip(table.itertuples(), removed, strict=True):
        target = targets.index(int(str(row.test_index)))
        if rows not in column_of:
            missing += 1
            continue
        actual, certificate = float(str(row.actual_change)), float(str(row.certificate))
        # Tables from before there was the column say nothing of it.
        misnamed += getattr(row, "truth", truth.truth[column_of[rows]]) != truth.truth[column_of[rows]]
        found = {
            "weights": truth.actual_change[target, column_of[rows]] - actual,
            "plain losses": plain_changes[rows][target] - actual,
            "certificates": _apart(float(truth.bound[target, column_of[rows]]), certificate),
        }
        differences = {name: max(differences[name], abs(float(found[name]))) for name in differences}
    scale = float(table["actual_change"].abs().max())
    passed = missing == misnamed == 0 and max(differences.values()) <= ROUNDING * max(scale, 1.0)
    return Verdict(
        check="actual changes",
        passed=passed,
        evidence=(
            f"{len(table)} rows against the stored weights: {missing} without a model; changes differ by at "
            f"most {differences['weights']:.1e}, from plain differences of losses by "
            f"{differences['plain losses']:.1e}, certificates by {differences['certificates']:.1e}"
            + (f"; {misnamed} are said to be known in another way than they are" if misnamed else "")
            + (local_words(table) if local else "")
        ),
    )


def _apart(one: float, other: float) -> float:
    """Their difference; none where neither is known."""
    return 0.0 if one == other else one - other


def local_words(table: pd.DataFrame) -> str:
    """What certificates that are not proven take for granted."""
    return (
        "; the certificates are local: they hold unless the Hessian changes "
        f"{format_number(float(table['margin'].min()))} times faster than measured"
    )


def check_predictions(folder: RunFolder, table: pd.DataFrame, key: str, num_examples: int) -> Verdict:
    """Predictions in the table are those of the methods' own tables, which are −I_up,loss/n."""
    faults = []
    for method, rows in table.groupby("method"):
        record = read_record(folder, str(method))
        own = None if record is None else read_table(folder, record)
        if record is None or own is None or record.model_checksum != key:
            faults.append(f"{method} has no predictions of this θ̂")
            continue
        stated = as_stated(folder, record, own)
        joined = rows.merge(stated, on=["test_index", "train_index"], suffixes=("", "_own"), how="left")
        if not np.array_equal(joined["predicted_change"], joined["predicted_change_own"]):
            faults.append(f"{method}: the table's predictions are not those of influence/{method}.csv")
        if not np.allclose(own["predicted_change"], -own["influence"] / num_examples, rtol=1e-12, atol=0):
            faults.append(f"{method}: predicted changes are not −I_up,loss/n")
    return Verdict(
        check="predictions",
        passed=not faults,
        evidence="; ".join(faults)
        or "every prediction is in its method's own table, which has −I_up,loss/n of all points",
    )


def check_predicted_certificates(table: pd.DataFrame) -> list[Verdict]:
    """Predictions that have a certificate of their own are within it of the truth; none where none has one.

    Both certificates are proven, of the prediction and of the actual change, so an error above their sum
    shows that one of them, or a number that it stands beside, is wrong.
    """
    if "predicted_certificate" not in table.columns:
        return []
    own = table[np.isfinite(table["predicted_certificate"].to_numpy(np.float64))]
    if own.empty:
        return []
    errors = (own["predicted_change"] - own["actual_change"]).abs()
    shares = errors / (own["predicted_certificate"] + own["certificate"])
    return [
        Verdict(
            check="predicted certificates",
            passed=bool((shares <= 1).all()),
            evidence=(
                f"{len(own)} predictions with a certificate of their own: errors are at most "
                f"{errors.max():.1e}, and at most {shares.max():.2g} of what both certificates allow"
            ),
        )
    ]


def check_summary(table: pd.DataFrame, targets: list[int], summary: Summary, truth: Changes) -> Verdict:
    """The summary's statistics are those of the table, and its null control that of the weights."""
    faults = []
    nothing = truth.null_control
    for row, target in enumerate(targets):
        point = summary.get(target)
        if point is None:
            faults.append(f"test point {target}")
            continue
        if not math.isclose(point.null_control, truth.actual_change[row, nothing], abs_tol=1e-12):
            faults.append(f"null control of test point {target}")
        if point.basins != basins_of(table[table["test_index"] == target]):
            faults.append(f"basins of test point {target}")
        for method, chosen in table[table["test_index"] == target].groupby("method"):
            rows = comparable(chosen)
            found = asdict(agreement(rows["predicted_change"].to_numpy(), rows["actual_change"].to_numpy()))
            recorded = point.methods.get(str(method))
            known = {} if recorded is None else asdict(recorded.agreement)
            faults += [
                f"{name} of {method} for test point {target}"
                for name, value in found.items()
                if not _same(known.get(name), value)
            ]
    return Verdict(
        check="summary",
        passed=not faults,
        evidence="does not follow from the table: " + ", ".join(faults)
        if faults
        else "every statistic follows from the table, and the null control from the weights",
    )


def _same(recorded: float | None, value: float) -> bool:
    if recorded is None or math.isnan(recorded):
        return recorded is not None and math.isnan(value)
    return math.isclose(recorded, value, rel_tol=1e-9, abs_tol=1e-15)
