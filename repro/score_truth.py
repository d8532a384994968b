"""The truth that scores are judged by: in a run folder, or in a file of `repro ground-truth`.

leave_one_out.csv is enough for the statistics, and needs neither data nor torch. θ̂ is asked only where L2
is in question.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from repro.configuration.compose import Config, compose
from repro.configuration.mistakes import no_run
from repro.errors import StageError, UsageError
from repro.folder.opening import open_run
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.records.group_rows import read_removals
from repro.records.influence import InfluenceRecord, read_record, read_table
from score.formats.tables import MAGIC, parquet_table
from score.predicted import ScoresError
from score.truth import GroupTruth, L2Terms, Truth, TruthError, truth_of_table

if TYPE_CHECKING:
    from repro.session import Session

HALVES = "halves"
"""What groups.csv calls models that keep a random share of the rows."""
PRECISE = ("influence.exact.Exact", "influence.cg.CG")
PRECISE_RESIDUAL = 1e-6
TOLERANCE = 1e-2
"""Relative residual of H⁻¹θ̂."""
ROUGH_EXAMPLES = 5500
"""That H is of where the term is told from 0 and from twice itself, no more: r 0.98, slope 0.93 against that
of all on MNIST, λ = 0.01."""


def truth_at(path: Path) -> Truth:
    """The truth in a run folder, which is open for the length of this call, or in a table.

    Raises:
        UsageError: there is none.
        StageError: the run folder has no leave-one-out models yet.
    """
    if path.is_dir():
        folder = RunFolder(path)
        if not folder.manifest.exists():
            raise UsageError(no_run(path, folder.manifest.name))
        with open_run(folder):
            try:
                return _truth_of_run(folder)
            except TruthError as error:
                raise UsageError(f"{path} has no truth to judge by: its table {error}") from error
    try:
        return truth_of_table(_table(path))
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: no such file; name a run folder or a file of repro ground-truth"
        ) from error
    except (TruthError, ScoresError) as error:
        raise UsageError(f"{path}: {error}") from error


def _table(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        parquet = file.read(4) == MAGIC
    if parquet:
        return parquet_table(path)
    try:
        return pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise TruthError(f"is no table ({' '.join(str(error).split())[:80]})") from error


def _truth_of_run(folder: RunFolder) -> Truth:
    records = [record for name in folder.methods() if (record := read_record(folder, name)) is not None]
    tables = [(record, table) for record in records if (table := read_table(folder, record)) is not None]
    labels = _labels([table for _, table in tables])
    try:
        table = pd.read_csv(folder.table)
    except FileNotFoundError:
        table = _changes(folder)
    truth = truth_of_table(table, num_train=None if labels is None else len(labels))
    return Truth(
        points=truth.points,
        num_train=truth.num_train,
        labels=labels,
        halves=_halves(folder, truth.num_train),
        l2_terms=functools.cache(lambda: _l2_terms(folder, list(truth.points), tables)),
    )


def _labels(tables: list[pd.DataFrame]) -> Int[np.ndarray, " n"] | None:
    """Of all training points, as every table of predictions has them."""
    if not tables:
        return None
    rows = tables[0][tables[0]["test_index"] == tables[0]["test_index"].iloc[0]]
    return np.asarray(rows["label"].to_numpy(dtype=np.int64))


def _halves(folder: RunFolder, num_train: int | None) -> dict[int, GroupTruth]:
    """Models of halves, where groups.csv is of such; by test point.

    Raises:
        TruthError: a file is not as this tool writes it.
    """
    try:
        table = pd.read_csv(folder.groups)
        removals = [np.array(rows, dtype=np.int64) for rows in read_removals(folder)]
        table = table[table["selection"] == HALVES].drop_duplicates(["test_index", "removal"])
        if any(rows.size == 0 or rows.min() < 0 or rows.max() >= (num_train or 0) for rows in removals):
            raise ValueError("removals.json names rows that there are not")
        return {
            int(str(target)): GroupTruth(
                rows=tuple(removals[place] for place in rows["removal"]),
                actual_change=rows["actual_change"].to_numpy(dtype=np.float64),
                certificate=rows["certificate"].to_numpy(dtype=np.float64),
            )
            for target, rows in table.groupby("test_index")
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise TruthError(f"of groups is damaged ({' '.join(str(error).split())[:80]})") from error


def _changes(folder: RunFolder) -> pd.DataFrame:
    from repro.agreement import actual_changes
    from repro.session import Session
    from repro.stages.ground_truth import changes_so_far

    return actual_changes(*changes_so_far(Session(compose([str(folder.path)]))))


def _l2_terms(
    folder: RunFolder, targets: list[int], tables: list[tuple[InfluenceRecord, pd.DataFrame]]
) -> L2Terms | None:
    """What is needed to see where L2 is; None where the model has none, or cannot be had."""
    config = compose([str(folder.path)])
    l2 = config["model"].get("l2")
    if not isinstance(l2, float | int) or l2 <= 0:
        return None
    session = functools.cache(lambda: _session(config))
    try:
        known = next((table for record, table in tables if _is_precise(record, targets)), None)
        reference = _predicted(known, targets) if known is not None else _solved(session(), targets)
    except (StageError, UsageError) as error:
        warn(f"L2 is not looked for in the scores: {error}")
        return None
    # Of few examples the rough one is the whole one.
    few = len(next(iter(reference.values()))) <= ROUGH_EXAMPLES
    term = functools.cache(lambda rough: _test_term(session(), float(l2), rough))
    return L2Terms(reference=reference, of_test_gradient=lambda rough: term(rough and not few))


def _session(config: Config) -> "Session":
    """It brings torch along, which judging by a table does not need."""
    from repro.session import Session

    return Session(config)


def _is_precise(record: InfluenceRecord, targets: list[int]) -> bool:
    found = {one.test_index: one for one in record.solutions}
    return (
        record.settings.get("_target_") in PRECISE
        and not record.settings.get("damping")
        and set(targets) <= set(found)
        and all((found[target].relative_residual or 0.0) <= PRECISE_RESIDUAL for target in targets)
    )


def _predicted(table: pd.DataFrame, targets: list[int]) -> dict[int, Float[np.ndarray, " n"]]:
    return {
        target: table.loc[table["test_index"] == target, "predicted_change"].to_numpy(dtype=np.float64)
        for target in targets
    }


def _solved(session: "Session", targets: list[int]) -> dict[int, Float[np.ndarray, " n"]]:
    from repro.functions import influence

    theta = session.model().theta
    rows = influence(session.risk, theta, *session.test_examples(targets)).cpu().numpy()
    return dict(zip(targets, rows, strict=True))


def _test_term(session: "Session", l2: float, rough: bool) -> Float[np.ndarray, " n"]:
    """λθ̂ᵀH⁻¹∇L(zᵢ)/n for every training point; roughly: with H of some of the examples."""
    import torch

    from influence.cg import CG

    risk, theta = session.risk, session.model().theta
    some = torch.randperm(risk.num_examples, generator=torch.Generator().manual_seed(0))[:ROUGH_EXAMPLES]
    curvature = (risk.subset(some.to(theta.device)) if rough else risk).curvature(theta)
    solve = CG(tolerance=TOLERANCE, preconditioner="kronecker").at(curvature, lambda *_: None)
    products = risk.per_example_gradient_dot(theta, solve(theta).value)
    found: Float[np.ndarray, " n"] = (l2 * products / risk.num_examples).cpu().numpy()
    return found
