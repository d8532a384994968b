"""The figure end to end, against what it must reach: `python -m benchmarks.figure`.

Runs the program as a user does, each command in a process of its own whose wall time and peak memory are
taken, and prints every measure beside its goal. MNIST comes from REPRO_DATA_ROOT or a download.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.arguments import read_arguments
from benchmarks.memory import watch_memory
from benchmarks.report import Measure, machine, show

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    seconds: float
    peak_gib: float
    summary: dict[str, Any]
    folder: Path


def run(folder: Path, *arguments: str) -> Finished:
    """`repro run` in a process of its own."""
    command = [sys.executable, "-m", "cli", "run", *arguments, f"output_dir={folder}"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process, watch_memory(process.pid) as peak:
        process.wait()
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with exit code {process.returncode}")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return Finished(seconds, peak.gib, summary, folder)


def main() -> None:
    """Print the table."""
    read_arguments(__doc__, sys.argv[1:])
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        two = run(folder / "two", "--method", "cg", "--method", "lissa")
        four = run(folder / "two", "--method", "exact", "--method", "grad_dot")
        seeds = [
            run(folder / "two", "--method", "lissa", f"influence.seed={seed}").summary["methods"]["lissa"]
            for seed in SEEDS
        ]
        digits = run(folder / "digits", "--method", "cg", "data=digits")
        facts = _facts(two.folder)
    show(console, "Figure 2 on MNIST, test point 8, top 500", [*_accuracy(facts, four, seeds), *_cost(two)])
    show(console, "The figure on digits", _digits(digits))
    console.print(machine())


def _facts(folder: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    return facts


def _accuracy(facts: dict[str, Any], four: Finished, seeds: list[dict[str, float]]) -> list[Measure]:
    methods, summary = four.summary["methods"], four.summary
    objective, bound = facts["objective"], summary["null_control_certificate"]
    measures = [
        Measure(name="R(θ̂) − 0.560367226", value=abs(objective - 0.560367226), form="{:.0e}", most=1e-8),
        Measure(name="test accuracy", value=facts["test_accuracy"], form="{:.4f}", least=0.9057, most=0.9057),
    ]
    for name in ("exact", "cg"):
        found = methods[name]
        measures += [
            Measure(name=f"{name}: Pearson r", value=found["pearson"], form="{:.6f}", least=0.9999),
            Measure(name=f"{name}: slope", value=found["slope"], form="{:.4f}", least=0.99, most=1.02),
            Measure(name=f"{name}: |intercept|", value=abs(found["intercept"]), form="{:.0e}", most=1e-5),
        ]
    slopes, count = [found["slope"] for found in seeds], len(SEEDS)
    least_r = min(found["pearson"] for found in seeds)
    return [
        *measures,
        Measure(name=f"lissa: least r of {count} seeds", value=least_r, form="{:.4f}", least=0.99),
        Measure(name=f"lissa: least slope of {count} seeds", value=min(slopes), form="{:.3f}", least=0.93),
        Measure(name=f"lissa: largest slope of {count} seeds", value=max(slopes), form="{:.3f}", most=1.07),
        Measure(name="grad_dot: Pearson r", value=methods["grad_dot"]["pearson"], form="{:.3f}"),
        Measure(name="largest certificate", value=summary["max_certificate"], form="{:.1e}", most=1e-5),
        Measure(name="|null control|", value=abs(summary["null_control"]), form="{:.1e}", most=bound),
    ]


def _cost(two: Finished) -> list[Measure]:
    lissa = two.summary["methods"]["lissa"]["seconds"]
    return [
        Measure(name="lissa: 5,000 × 10 steps and all scores", value=lissa, form="{:.1f} s", most=3),
        Measure(name="run, cg and lissa: everything", value=two.seconds, form="{:.0f} s", most=300),
        Measure(name="run, cg and lissa: peak memory", value=two.peak_gib, form="{:.1f} GiB", most=8),
    ]


def _digits(digits: Finished) -> list[Measure]:
    r = digits.summary["methods"]["cg"]["pearson"]
    return [
        Measure(name="run, cg: everything", value=digits.seconds, form="{:.1f} s", most=20),
        Measure(name="cg: Pearson r", value=r, form="{:.5f}", least=0.999),
    ]


if __name__ == "__main__":
    main()
