"""What scores are held against to see where L2 is: an exact solution, and what L2 in the test gradient adds.

Both take θ̂, the data and torch, which nothing else of `repro score` needs. So they are kept in the run
folder, and `repro retrain`, which has all three at hand, leaves the second there.
"""

import functools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from repro.configuration.compose import Config, compose
from repro.errors import StageError, UsageError
from repro.folder.opening import open_run
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.records.influence import InfluenceRecord
from repro.records.l2_terms import KeptTerms, add_terms, read_terms
from repro.records.model import stored_facts
from score.truth import L2Terms

if TYPE_CHECKING:
    from torch import Tensor

    from erm.risk import EmpiricalRisk
    from repro.session import Session

PRECISE = ("influence.exact.Exact", "influence.cg.CG")
PRECISE_RESIDUAL = 1e-6
TOLERANCE = 1e-2
"""Relative residual of H⁻¹λθ̂: the question is whether the term's coefficient is nearer to 1 than to 0."""

Predicted = dict[int, Float[np.ndarray, " n"]]
"""By test point, the predicted change of every training point."""


def l2_terms_of_run(
    folder: RunFolder, targets: list[int], tables: list[tuple[InfluenceRecord, pd.DataFrame]]
) -> L2Terms | None:
    """What is needed to see where L2 is; None where the model has none, or cannot be had."""
    config, facts = compose([str(folder.path)]), stored_facts(folder)
    l2 = config["model"].get("l2")
    if facts is None or not isinstance(l2, float | int) or l2 <= 0:
        return None
    session = functools.cache(lambda: _session(config))
    kept = read_terms(folder, facts.checksum)
    try:
        known = next((table for record, table in tables if _is_precise(record, targets)), None)
        reference = _predicted(known, targets) if known is not None else kept.reference
        if not set(targets) <= set(reference):
            reference = _solved(session(), targets)
            _keep(folder, facts.checksum, KeptTerms(reference=reference))
    except (StageError, UsageError) as error:
        warn(f"L2 is not looked for in the scores: {error}")
        return None
    num_train = len(reference[targets[0]])

    def of_test_gradient() -> Float[np.ndarray, " n"] | None:
        if kept.test_gradient is not None and len(kept.test_gradient) == num_train:
            return kept.test_gradient
        found = _of_test_gradient(session().risk, session().model().theta)
        if found is not None:
            _keep(folder, facts.checksum, KeptTerms(test_gradient=found))
        return found

    return L2Terms(reference=reference, of_test_gradient=functools.cache(of_test_gradient))


def keep_l2_term(folder: RunFolder, key: str, risk: "EmpiricalRisk", theta: "Tensor") -> None:
    """Leave λθ̂ᵀH⁻¹∇L(zᵢ)/n in the run folder, where it takes a few passes: of a convex risk with L2.

    Args:
        folder: the run, which is open.
        key: names θ̂.
        risk: the empirical risk.
        theta: its minimiser θ̂.
    """
    if risk.l2 <= 0 or not risk.curvature(theta).convex or read_terms(folder, key).test_gradient is not None:
        return
    found = _of_test_gradient(risk, theta)
    if found is not None:
        add_terms(folder, key, KeptTerms(test_gradient=found))


def _keep(folder: RunFolder, key: str, more: KeptTerms) -> None:
    with open_run(folder):
        add_terms(folder, key, more)


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


def _predicted(table: pd.DataFrame, targets: list[int]) -> Predicted:
    return {
        target: table.loc[table["test_index"] == target, "predicted_change"].to_numpy(dtype=np.float64)
        for target in targets
    }


def _solved(session: "Session", targets: list[int]) -> Predicted:
    from repro.functions import influence

    theta = session.model().theta
    rows = influence(session.risk, theta, *session.test_examples(targets)).cpu().numpy()
    return dict(zip(targets, rows, strict=True))


def _of_test_gradient(risk: "EmpiricalRisk", theta: "Tensor") -> Float[np.ndarray, " n"] | None:
    """λθ̂ᵀH⁻¹∇L(zᵢ)/n for every training point; None where H is not positive definite."""
    from influence.cg import CG
    from retrain.removed_risks import decay_of

    solve = CG(tolerance=TOLERANCE, preconditioner="kronecker").at(risk.curvature(theta), lambda *_: None)
    solution = solve(decay_of(risk) * theta)
    if solution.status.failed:
        return None
    products = risk.per_example_gradient_dot(theta, solution.value)
    found: Float[np.ndarray, " n"] = (products / risk.num_examples).cpu().numpy()
    return found
