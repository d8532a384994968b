"""Any command line, valid or not, ends in 0, 1 or 2 with a message; never in a traceback or half a folder."""

import functools
import random
import shutil
from pathlib import Path

import pytest

from repro.configuration.compose import compose, groups
from tests.command_line import repro
from tests.test_configuration_keys import all_keys

VALUES = (
    "0", "1", "-1", "2", "3.5", "1e-3", "1e400", "-0.0", "nan", "inf", "10000000000000000000000",
    "null", "true", "False", "''", "abc", "[]", "[1,2]", "[-1]", "{}", "{a: 1}", "a,b", "range(3)",
    "${oc.env:HOME}", "${nothing}", "'", "ü", "all", "random", "misclassified", "cuda", "auto", "float64",
    "/dev/null", "../..", "lissa", "cg",
)  # fmt: skip
COMMANDS = ("config", "train", "influence", "retrain", "plot", "run", "report", "diagnose", "compare")
TINY = ("data=digits", "data.num_train=30", "top_k=3", "compare.settings=[cg]")
OPTIONS: tuple[tuple[str, ...], ...] = (
    (), (), (), (), ("--method", "cg"), ("--method", "exact"), ("--method", "nosuch"), ("--gpus", "-1"),
    ("--gpus", "0"), ("--method",), ("--nosuch",),
)  # fmt: skip
DEAR = ("retrain.gpus", "experiment", "fit.max_passes")
"""Valid values of these start processes or take long; other tests try them."""


@functools.cache
def known() -> tuple[list[str], dict[str, list[str]]]:
    """The keys to draw from, some of which there are not, and the choices of each group."""
    wrong = ("nosuch", "model.nosuch", "hydra.run.dir", "+model.new", "~model.l2")
    return [*sorted(all_keys() - set(DEAR)), *groups(), *wrong], groups()


def some_line(rng: random.Random) -> list[str]:
    """A command, options that it may not have, and overrides of which about half are wrong."""
    keys, files = known()
    overrides = []
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        key = rng.choice(keys)
        if key in ("output_dir", "data", "experiment", *DEAR):
            continue
        choices = files.get(key, [])
        value = rng.choice([*choices, rng.choice(VALUES)]) if choices else rng.choice(VALUES)
        overrides.append(rng.choice((f"{key}={value}",) * 8 + (key, f"={value}", f"{key}={value}=")))
    return [rng.choice(COMMANDS), *rng.choice(OPTIONS), *TINY, *overrides]


def try_lines(tmp_path: Path, seed: int, count: int) -> dict[int, int]:
    """Run so many lines; how often each exit code came."""
    rng = random.Random(seed)
    codes = {0: 0, 1: 0, 2: 0}
    for number in range(count):
        line = some_line(rng)
        folder = tmp_path / str(number)
        result = repro(*line, f"output_dir={folder}")
        shown = " ".join(line)
        assert result.exit_code in codes, (shown, result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), (shown, result.exc_info)
        assert "Traceback" not in result.output, shown
        if result.exit_code:
            assert result.stderr.strip(), shown
        if result.exit_code == 2:
            assert not folder.exists(), shown
        elif folder.exists():
            assert not list(folder.rglob(".unfinished-*")), shown
            # Whatever is there is whole: the model is there if anything is.
            assert (folder / "model.safetensors").exists(), shown
            shutil.rmtree(folder)
        codes[result.exit_code] += 1
    return codes


def test_some_command_lines(tmp_path: Path) -> None:
    try_lines(tmp_path, seed=1, count=40)


@pytest.mark.slow
def test_very_many_command_lines(tmp_path: Path) -> None:
    codes = try_lines(tmp_path, seed=2, count=600)
    # The lines are neither all right nor all wrong.
    assert min(codes.values()) > 15, codes


def test_the_lines_reach_every_group() -> None:
    rng = random.Random(0)
    seen = {word.split("=")[0].split(".")[0] for _ in range(2000) for word in some_line(rng)}
    assert set(compose([]).values) - {"output_dir"} <= seen
