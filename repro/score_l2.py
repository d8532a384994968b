"""What scores are held against to see where L2 is: an exact solution, and what L2 in the test gradient adds.

Both take θ̂, the data and torch, without which scores are judged by the tables of a run. So they are kept in
the run folder; `repro retrain`, which has all three at hand, leaves the second there if the risk is convex.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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
from repro.records.l2_terms import KeptTerms, add_terms, read_terms, terms_key
from repro.records.model import ModelFacts, stored_facts
from score.truth import L2Terms

if TYPE_CHECKING:
    from repro.session import Session

PRECISE = ("influence.exact.Exact", "influence.cg.CG")
PRECISE_RESIDUAL = 1e-6
TOLERANCE = 1e-2
"""Relative residual of H⁻¹λθ̂: the question is whether the term's coefficient is nearer to 1 than to 0."""


def l2_terms_of_run(
    folder: RunFolder, targets: list[int], tables: list[tuple[InfluenceRecord, pd.DataFrame]]
) -> L2Terms | None:
    """What is needed to see where L2 is; None where the model has none, or cannot be had."""
    config, facts = compose([str(folder.path)]), stored_facts(folder)
    l2 = config["model"].get("l2")
    if not isinstance(l2, float | int) or l2 <= 0:
        return None
    session = functools.cache(lambda: _session(config))
    kept = KeptTerms() if facts is None else read_terms(folder, terms_key(facts))
    known = next((table for record, table in tables if _is_precise(record, targets, facts)), None)
    reference = kept.reference if known is None else _predicted(known, targets)
    missing = [target for target in targets if target not in reference]
    if missing:
        solved = _computed(folder, session, lambda at: _solved(at, missing), open_run(folder))
        if solved is None:
            return None
        reference = reference | solved.reference
    num_train = len(reference[targets[0]])

    def of_test_gradient() -> Float[np.ndarray, " n"] | None:
        if kept.test_gradient is not None and len(kept.test_gradient) == num_train:
            return kept.test_gradient
        found = _computed(folder, session, _of_test_gradient, open_run(folder))
        return None if found is None else found.test_gradient

    return L2Terms(reference=reference, of_test_gradient=functools.cache(of_test_gradient))


def leave_l2_term(session: "Session") -> None:
    """Keep λθ̂ᵀH⁻¹∇L(zᵢ)/n in the run folder, which is open, if that is a matter of a few passes.

    So it is for softmax regression with L2. A failure is told, and costs nothing else.
    """
    from erm.softmax import SoftmaxRisk

    if not isinstance(session.risk, SoftmaxRisk) or session.risk.l2 <= 0:
        return
    if read_terms(session.folder, terms_key(session.model().facts)).test_gradient is None:
        # The folder may be open in the process that started this one, and is not to be waited for.
        _computed(session.folder, lambda: session, _of_test_gradient, nullcontext())


def _computed(
    folder: RunFolder,
    session: "Callable[[], Session]",
    compute: "Callable[[Session], KeptTerms]",
    opened: AbstractContextManager[object],
) -> KeptTerms | None:
    """What is computed, and kept in the folder once it is open; None, and a warning, where it cannot be."""
    try:
        found, key = compute(session()), terms_key(session().model().facts)
    except (StageError, UsageError, ValueError, RuntimeError) as error:
        warn(f"L2 is not looked for in scores: {error}")
        return None
    try:
        with opened:
            add_terms(folder, key, found)
    except (StageError, UsageError, OSError) as error:
        warn(f"{folder.l2_terms} is not written, and computed again where it is needed: {error}")
    return found


def _session(config: Config) -> "Session":
    """It brings torch along, which judging by a table does not need."""
    from repro.session import Session

    return Session(config)


def _is_precise(record: InfluenceRecord, targets: list[int], facts: ModelFacts | None) -> bool:
    found = {one.test_index: one for one in record.solutions}
    return (
        record.settings.get("_target_") in PRECISE
        and (facts is None or record.model_checksum == facts.checksum)
        and not record.settings.get("damping")
        and set(targets) <= set(found)
        and all((found[target].relative_residual or 0.0) <= PRECISE_RESIDUAL for target in targets)
    )


def _predicted(table: pd.DataFrame, targets: list[int]) -> dict[int, Float[np.ndarray, " n"]]:
    return {
        target: table.loc[table["test_index"] == target, "predicted_change"].to_numpy(dtype=np.float64)
        for target in targets
    }


def _solved(session: "Session", targets: list[int]) -> KeptTerms:
    from repro.functions import influence

    theta = session.model().theta
    rows = influence(session.risk, theta, *session.test_examples(targets)).cpu().numpy()
    return KeptTerms(reference=dict(zip(targets, rows, strict=True)))


def _of_test_gradient(session: "Session") -> KeptTerms:
    """λθ̂ᵀH⁻¹∇L(zᵢ)/n for every training point.

    Raises:
        ValueError: there is no such solution, as where H is not positive definite.
    """
    from influence.cg import CG
    from retrain.removed_risks import decay_of

    risk, theta = session.risk, session.model().theta
    solve = CG(tolerance=TOLERANCE, preconditioner="kronecker").at(risk.curvature(theta), lambda *_: None)
    solution = solve(decay_of(risk) * theta)
    if solution.status.failed:
        raise ValueError(solution.message)
    products = risk.per_example_gradient_dot(theta, solution.value)
    return KeptTerms(test_gradient=(products / risk.num_examples).cpu().numpy())
