"""Groups of training rows left out, against what a user would do instead: `python -m benchmarks.groups`.

In one run on MNIST: 100 models of random halves and the interval of their datamodeling score; the groups of
the 2019 study at a fixed sum of L2, for its six test points; and on a sample of them scikit-learn's
warm-started fits. On digits, 200 random groups against scikit-learn at a tolerance of 1e-12. `--part` takes
one of these tables, `--quick` 11,000 rows of MNIST and 120 of the groups. Processor time is that of all
threads.
"""

import os
import sys
import time

import numpy as np
from rich.console import Console

from benchmarks.arguments import read_parts
from benchmarks.group_models import Problem, excess, influences, problem_of, scikit_learn, solve
from benchmarks.report import Measure, machine, show
from erm.data.digits import load_digits
from erm.data.mnist import load_mnist
from plots.rank_interval import spearman_interval
from repro.configuration.compose import compose
from retrain.group_kinds import halves, random_groups, study_groups
from retrain.removal import Removal
from retrain.settings import RetrainSettings

STUDY = ["experiment=groups2019"]
SAMPLED, PEER_GROUPS = 200, 4
PARTS = {
    "halves": "100 models of random halves of MNIST",
    "study": "The groups of the 2019 study on MNIST",
    "peer": "A sample of these groups beside scikit-learn",
    "digits": "Groups of digits beside an independent solver",
}
QUICK_ROWS, QUICK_GROUPS = 11_000, 120


def digits_rows() -> list[Measure]:
    """Each group's truth against an independent solver."""
    data = load_digits()
    problem = problem_of(data, range(5))
    sizes = np.linspace(0.01, 0.5, 200).tolist()
    groups = random_groups(num_examples=problem.risk.num_examples, sizes=sizes, count=1, seed=0)
    found = solve(problem, groups, RetrainSettings())
    shares = [
        excess(found, group, *scikit_learn(problem, group, "mean", "newton-cg", 1e-12)[2:])
        for group in groups
    ]
    return [
        Measure(
            name="digits: groups against scikit-learn, tol 1e-12", value=len(groups), form="{:.0f}", least=200
        ),
        Measure(name="digits: largest difference / both bounds", value=max(shares), form="{:.2f}", most=1.0),
    ]


def chosen_groups(problem: Problem, scores: np.ndarray, quick: bool) -> tuple[list[Removal], float]:
    """The groups of the 2019 study, and the processor seconds that choosing them took."""
    kind = {key: value for key, value in compose(STUDY)["removals"].items() if key != "_target_"}
    risk, used = problem.risk, time.process_time()
    groups = study_groups(
        num_examples=risk.num_examples, labels=problem.data.y_train, features=problem.data.x_train,
        gradient_factors=(risk.x.numpy(), (risk.probabilities(problem.theta) - risk.labels).numpy()),
        influences=scores, **kind | ({"most": QUICK_GROUPS} if quick else {}),
    )  # fmt: skip
    return groups, time.process_time() - used


def study_settings(batch_size: int | None = None) -> RetrainSettings:
    tolerance = compose(STUDY)["retrain"]["tolerance"]
    return RetrainSettings(l2_scaling="sum", tolerance=tolerance, batch_size=batch_size)


def study_rows(problem: Problem, scores: np.ndarray, quick: bool) -> list[Measure]:
    """The 2019 study, each of whose models is solved."""
    groups, chosen = chosen_groups(problem, scores, quick)
    found = solve(problem, groups, study_settings())
    typical, worst = np.median(np.abs(found.changes.actual_change), axis=1), found.changes.bound.max(axis=1)
    return [
        Measure(name="choosing the groups, processor time", value=chosen, form="{:.0f} s"),
        Measure(name="their models, set-up included", value=found.seconds / 60, form="{:.1f} min", most=15),
        Measure(name="the same, processor time", value=found.processor_seconds / 60, form="{:.1f} min"),
        Measure(name="passes per model", value=found.passes, form="{:.1f}"),
        Measure(
            name="largest certificate / median effect, of any test point",
            value=float((worst / typical).max()),
            form="{:.1e}",
            most=1e-3,
        ),
    ]


def peer_rows(problem: Problem, scores: np.ndarray, quick: bool) -> list[Measure]:
    """A sample of the groups, here and by scikit-learn; all groups together pay the set-up."""
    groups, _ = chosen_groups(problem, scores, quick)
    by_size = sorted(groups, key=len)
    sample = by_size[:: max(1, len(groups) // SAMPLED)]
    few = sample[len(sample) // (2 * PEER_GROUPS) :: len(sample) // PEER_GROUPS][:PEER_GROUPS]
    set_up = solve(problem, [], study_settings()).processor_seconds
    found = solve(problem, sample, study_settings(batch_size=-(-len(sample) // 2)))
    peers = [scikit_learn(problem, group, "sum", "lbfgs", 1e-8) for group in few]
    shares = [excess(found, group, *peer[2:]) for group, peer in zip(few, peers, strict=True)]
    theirs = float(np.mean([peer[1] for peer in peers]))
    ours = (found.processor_seconds - set_up) / len(sample) + set_up / len(groups)
    return [
        Measure(name="groups of the 2019 study", value=len(groups), form="{:,.0f}"),
        Measure(name="of these, solved in two batches", value=len(sample), form="{:.0f}"),
        Measure(name="set-up, once, processor time", value=set_up, form="{:.0f} s"),
        Measure(name="a model here, its share of the set-up included, the same", value=ours, form="{:.2f} s"),
        Measure(name="passes per model", value=found.passes, form="{:.1f}"),
        Measure(
            name=f"{PEER_GROUPS} models by scikit-learn, tol 1e-8, warm, each", value=theirs, form="{:.1f} s"
        ),
        Measure(name="scikit-learn slower by", value=theirs / ours, form="{:.0f} ×", least=60),
        Measure(name="largest difference / both bounds", value=max(shares), form="{:.2f}", most=1.0),
    ]


def halves_rows(problem: Problem, scores: np.ndarray) -> list[Measure]:
    """100 models of random halves, and how far the score of conjugate gradient can be from what is found."""
    n = problem.risk.num_examples
    groups = halves(num_examples=n, count=100, keep=0.5, seed=0)
    found = solve(problem, groups, RetrainSettings())
    columns = [found.changes.removals.index(group) for group in groups]
    intervals = [
        spearman_interval(
            np.array([-own[list(group)].sum() / n for group in groups]),
            found.changes.actual_change[row, columns],
            found.changes.bound[row, columns],
        )
        for row, own in enumerate(scores)
    ]
    mean = float(np.mean([one.value for one in intervals]))
    widest = max(one.highest - one.lowest for one in intervals)
    return [
        Measure(name="100 half-models, set-up included", value=found.seconds / 60, form="{:.1f} min", most=2),
        Measure(name="the same, processor time", value=found.processor_seconds / 60, form="{:.1f} min"),
        Measure(name="passes per half-model", value=found.passes, form="{:.1f}"),
        Measure(name="LDS of cg, mean of the test points", value=mean, form="{:.4f}"),
        Measure(name="widest interval of an LDS", value=widest, form="{:.5f}", most=0.001),
    ]


def main() -> None:
    """Print the tables asked for."""
    quick, parts = read_parts(__doc__, sys.argv[1:], PARTS)
    console, before = Console(soft_wrap=True), os.getloadavg()[0]
    if parts != ["digits"]:
        config = compose(STUDY)
        data = load_mnist(root=config["data"]["root"], num_train=QUICK_ROWS if quick else None)
        problem = problem_of(data, config["test_index"])
        scores = influences(problem)
    for part in parts:
        if part == "digits":
            measures = digits_rows()
        elif part == "halves":
            measures = halves_rows(problem, scores)
        else:
            measures = (study_rows if part == "study" else peer_rows)(problem, scores, quick)
        rows = "" if part == "digits" else f", n = {problem.risk.num_examples:,}"
        show(console, f"{PARTS[part]}{rows}", measures)
    console.print(f"{machine()}; load {before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
