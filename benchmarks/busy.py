"""LiSSA beside other work, against the same on cores that are left to it: `python -m benchmarks.busy`.

On MNIST with the paper's settings, the seconds from θ̂ to s_test on an idle machine, then with one core kept
busy, then with all of them, each the median of several runs. A fair share of a busy core is a half, so a
ratio of 2 is what can be reached. The same with the recursion on all threads says what it gains by running on
one. Prints first how busy the machine is without it: on one that is not idle the ratios come out too good.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import psutil
from rich.console import Console

from benchmarks.arguments import read_arguments
from benchmarks.mnist import Trained, train_mnist
from benchmarks.report import Measure, machine, show
from influence import threads
from influence.lissa import LiSSA
from influence.lissa_auto import LiSSAAuto
from influence.solution import Solver

RUNS = 3
SPIN = "while True: pass"


@contextmanager
def busy(num_cores: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(num_cores)]
    try:
        # Until they have started.
        time.sleep(1)
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def seconds(trained: Trained, solver: Solver, runs: int = RUNS) -> float:
    """From a trained model to s_test: the median, because other work comes and goes."""
    v = trained.risk.loss_gradient(trained.theta, trained.x_test, trained.y_test)[0]
    solve, taken = solver.at(trained.risk.curvature(trained.theta)), []
    for _ in range(runs):
        started = time.perf_counter()
        solve(v)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _measures(trained: Trained, name: str, solver: Solver, most: float | None, runs: int) -> list[Measure]:
    # In one go before the first run is timed, as it pays for the start of the threads.
    seconds(trained, LiSSA(depth=100), 1)
    found, cores = {}, os.cpu_count() or 1
    for num_busy in sorted({0, 1, cores}):
        with busy(num_busy):
            found[num_busy] = seconds(trained, solver, runs)
    idle = found.pop(0)
    measures = [Measure(name=f"{name}: idle", value=idle, form="{:.1f} s")]
    for num_busy, taken in found.items():
        measures += [
            Measure(name=f"{name}: {num_busy} of {cores} cores busy", value=taken, form="{:.1f} s"),
            Measure(
                name=f"{name}: {num_busy} of {cores} cores busy, against idle",
                value=taken / idle,
                form="{:.1f} ×",
                most=most,
            ),
        ]
    return measures


def main() -> None:
    """Print the table."""
    read_arguments(__doc__, sys.argv[1:])
    console = Console(soft_wrap=True)
    trained = train_mnist()
    load = psutil.cpu_percent(interval=5)
    measures = [
        Measure(name="cores in use by others before", value=load, form="{:.0f} %", most=5),
        *_measures(trained, "lissa", LiSSA(), 3.0, RUNS),
        *_measures(trained, "lissa_auto", LiSSAAuto(), 3.0, RUNS),
    ]
    with patch.object(threads, "SMALL_STEP", 0):
        measures += _measures(trained, "all threads", LiSSA(), None, 1)
    show(console, "LiSSA beside other work, MNIST, test point 8", measures)
    console.print(machine())


if __name__ == "__main__":
    main()
