"""Are injected faults of scores named right, and honest scores let be: `python -m benchmarks.score [FOLDER]`.

FOLDER is a finished run with an exact or CG method; without one, digits are run anew. Each fault alone and
each pair is put into an exact estimator, noisy ones of r = 0.95 and 0.8, and LiSSA's where the run has it.
Pairs that leave no trace are left out: ranks have neither factor nor L2, and the effect of L2 is smaller than
the noise of an inexact estimator. Then 200 honest estimators of r = 0.5 to 0.999 are judged.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from benchmarks.arguments import read_arguments
from repro.experiment import Experiment
from repro.folder.paths import RunFolder
from repro.records.influence import read_record, read_table
from repro.score_truth import truth_at
from score.predicted import Scores, ScoresError
from score.score import Score, score_scores
from score.truth import L2Terms, Truth

RANKS = "ranks_only"
STAGES = {
    "l2_train": 0, "l2_test": 0, RANKS: 1, "rows_by_class": 2, "rows_shifted": 3, "sign": 4,
    "factor_n": 5, "factor_one_over_n": 5, "factor": 5,
}  # fmt: skip
"""In what order an estimator would go wrong."""
HONEST = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
Vector = Float[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An estimator with faults, which should be named."""

    estimator: str
    faults: tuple[str, ...]
    scores: Vector


def faults_of(truth: Truth, terms: L2Terms) -> dict[str, list[Callable[[Vector], Vector]]]:
    """By name, how scores go wrong."""
    assert truth.num_train is not None
    assert truth.labels is not None
    n, order = truth.num_train, np.argsort(truth.labels, kind="stable")
    target = next(iter(truth.points))
    # Without L2 in the training gradient scores are off by λs_testᵀθ̂/n, here 5 % of their size or what it is.
    constant = 0.05 * float(terms.reference[target].std())
    front = 5000 if n > 10_000 else n // 14
    return {
        "sign": [lambda x: -x],
        "factor_n": [lambda x: n * x],
        "factor_one_over_n": [lambda x: x / n],
        "factor": [lambda x: 10 * x, lambda x: x / 25],
        "l2_train": [lambda x: x - constant],
        "l2_test": [lambda x: x + terms.of_test_gradient()],
        "rows_shifted": [
            lambda x: np.concatenate([x[:front][::-1], x])[:n],
            lambda x: np.concatenate([x[:front][::-1], x]),
            lambda x: np.roll(x, -37),
        ],
        "rows_by_class": [lambda x: x[order]],
        RANKS: [lambda x: np.argsort(np.argsort(x)).astype(np.float64)],
    }


def cases(estimators: Mapping[str, Vector], truth: Truth, terms: L2Terms) -> Iterator[Case]:
    """Every fault alone and every pair that leaves a trace."""
    ways = faults_of(truth, terms)
    names = sorted(ways, key=lambda name: STAGES[name])
    for estimator, clean in estimators.items():
        for kinds in itertools.chain(((name,) for name in names), itertools.combinations(names, 2)):
            if _leaves_no_trace(kinds, exact=estimator == "exact"):
                continue
            for chosen in itertools.product(*(ways[kind] for kind in kinds)):
                scores = clean
                for wrong in chosen:
                    scores = wrong(scores)
                yield Case(estimator=estimator, faults=kinds, scores=scores)


def _leaves_no_trace(kinds: tuple[str, ...], exact: bool) -> bool:
    l2 = any(kind.startswith("l2") for kind in kinds)
    factors = sum(kind.startswith("factor") for kind in kinds)
    return factors > 1 or (RANKS in kinds and (l2 or factors > 0)) or (l2 and not exact)


def noisy(clean: Vector, truth: Truth, r: float, generator: np.random.Generator) -> Vector:
    """An estimator whose correlation with the truth is about r."""
    actual = next(iter(truth.points.values())).actual_change
    spread = float(actual.std()) * float(np.sqrt(1 / r**2 - 1))
    return np.asarray(clean + spread * generator.normal(size=len(clean)))


def judge(scores: Vector, truth: Truth) -> Score:
    """Of one test point."""
    return score_scores(Scores(values=scores[None]), truth)


def _names(scores: Vector, truth: Truth) -> list[str]:
    """What is called wrong; "refused" where scores of more points follow the truth at no offset."""
    try:
        return judge(scores, truth).fault_names
    except ScoresError:
        return ["refused"]


def main() -> None:
    """The command line."""
    folder = read_arguments(__doc__, sys.argv[1:], target="FOLDER")
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary) / "digits"
            run = Experiment("data=digits", output_dir=folder)
            run.train()
            for method in ("exact", "lissa"):
                run.predict(method)
            run.retrain()
            run.plot()
        _show(folder)


def _show(folder: Path) -> None:
    truth = truth_at(folder)
    target = next(iter(truth.points))
    truth = replace(truth, points={target: truth.points[target]})
    terms = truth.l2_terms()
    assert terms is not None
    exact, generator = terms.reference[target], np.random.default_rng(0)
    estimators = {"exact": exact} | {f"r = {r}": noisy(exact, truth, r, generator) for r in (0.95, 0.8)}
    record = read_record(RunFolder(folder), "lissa")
    table = None if record is None else read_table(RunFolder(folder), record)
    if table is not None:
        estimators["lissa"] = table.loc[table["test_index"] == target, "predicted_change"].to_numpy(
            np.float64
        )
    out, rows = Console(), Table("estimator", "faults", "named right", "of")
    right: dict[tuple[str, int], list[bool]] = {}
    started = time.perf_counter()
    for case in cases(estimators, truth, terms):
        named = _names(case.scores, truth)
        same = sorted(named) == sorted(case.faults)
        right.setdefault((case.estimator, len(case.faults)), []).append(same)
        if not same:
            out.print(
                f"{case.estimator}: {' + '.join(case.faults)} is called {' + '.join(named) or 'nothing'}"
            )
    for (estimator, count), found in right.items():
        rows.add_row(estimator, "one" if count == 1 else "two", str(sum(found)), str(len(found)))
    every = [same for found in right.values() for same in found]
    out.print(rows)
    out.print(f"{sum(every)} of {len(every)} named right ({sum(every) / len(every):.1%})")
    false = 0
    for trial in range(200):
        named = judge(noisy(exact, truth, HONEST[trial % len(HONEST)], generator), truth).fault_names
        false += bool(named)
    out.print(
        f"{false} of 200 honest estimators are called wrong; {time.perf_counter() - started:.0f} s in all"
    )


if __name__ == "__main__":
    main()
