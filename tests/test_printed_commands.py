"""Every command line that is printed anywhere runs as it is printed; a new one fails until a test runs it."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repro.configuration.compose import groups
from tests import printed_commands as registry
from tests.command_line import PROJECT, repro, succeed
from tests.printed_lines import Printed, blocks, documents, printed_lines, spans
from tests.printed_scene import furnish, run_line
from tests.test_configuration_keys import all_keys

PRINTED = printed_lines()
LINES = {printed.line for printed in PRINTED}
MINIATURE = registry.QUICK | registry.SLOW | registry.PROCESSES


def walked() -> set[str]:
    return lines_of(MINIATURE | registry.REAL)


def lines_of(walks: dict[str, tuple[str, ...]]) -> set[str]:
    return {line for lines in walks.values() for line in lines}


def run_by(printed: Printed) -> object:
    """The test that runs a line, or why none does; None where it is new."""
    line = printed.line
    if line.endswith("{}"):
        return registry.MESSAGES.get((line, printed.where))
    starts = [test for start, test in registry.BY_START.items() if line.startswith(start)]
    named = [line] if line in walked() | registry.NAMES else []
    page = registry.PAGES.get(printed.where)
    known = (registry.FILLED.get(line), registry.ELSEWHERE.get(line), registry.EXEMPT.get(line), page)
    return next((answer for answer in (*starts, *named, *known) if answer), None)


def test_every_printed_line_is_run_as_printed() -> None:
    new = [printed for printed in PRINTED if run_by(printed) is None]
    assert not new, "printed, and run by no test: add them to tests/printed_commands.py\n" + "\n".join(
        f"  {printed.where}: {printed.line}" for printed in new
    )


def test_what_is_listed_is_printed() -> None:
    """A line that is printed no more has no place in the lists."""
    listed = {*walked(), *registry.FILLED, *registry.NAMES, *registry.EXEMPT}
    listed |= {*registry.ELSEWHERE, *registry.EXIT_CODES}
    assert listed - LINES - registry.PREPARED - set(registry.FILLED.values()) == set()
    assert walked() - LINES >= registry.PREPARED
    assert set(registry.MESSAGES) == {(p.line, p.where) for p in PRINTED if p.line.endswith("{}")}
    assert set(registry.PAGES) <= {printed.where for printed in PRINTED}
    assert all(any(line.startswith(start) for line in LINES) for start in registry.BY_START)


def test_what_is_filled_in_is_run() -> None:
    assert set(registry.FILLED.values()) <= walked() | set(registry.ELSEWHERE)
    assert set(registry.EXIT_CODES) | set(registry.REAL["also in miniature"]) <= lines_of(MINIATURE)


@pytest.mark.parametrize(
    "named",
    sorted(
        {
            *registry.ELSEWHERE.values(),
            *registry.BY_START.values(),
            *registry.PAGES.values(),
            *registry.MESSAGES.values(),
        }
    ),
)
def test_the_tests_that_are_named_exist(named: str) -> None:
    path, _, function = named.partition("::")
    tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function in defined if function else any(name.startswith("test_") for name in defined)


def walk(lines: Iterable[str]) -> None:
    for line in lines:
        code = registry.EXIT_CODES.get(line, 0)
        if code is None:
            result = repro(*shlex.split(line)[1:])
            assert result.exit_code in (0, 1), result.output
            assert not result.exit_code or "checks failed" in result.stderr, result.output
        else:
            run_line(line, code)


@pytest.mark.parametrize("name", registry.QUICK)
def test_lines_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    furnish(tmp_path, monkeypatch, num_train=1000)
    walk(registry.QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.SLOW)
def test_longer_lines_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    furnish(tmp_path, monkeypatch)
    walk(registry.SLOW[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.PROCESSES)
def test_lines_with_processes_run_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    furnish(tmp_path, monkeypatch, side=28, num_train=20_000 if name == "a sweep over n" else 1000)
    walk(registry.PROCESSES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.REAL)
def test_lines_run_as_printed_on_mnist(
    mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPRO_DATA_ROOT", str(mnist_root))
    walk(registry.REAL[name])


@pytest.mark.parametrize("line", sorted(registry.NAMES))
def test_a_command_that_is_named_answers(line: str) -> None:
    assert "Examples" in succeed(*line.split()[1:], "--help")


@pytest.mark.parametrize("line", sorted(line for line in LINES if line.startswith("make ")))
def test_make_knows_the_target(line: str) -> None:
    dry = subprocess.run(
        ["make", "-n", *shlex.split(line)[1:]], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert dry.returncode == 0, dry.stderr
    assert "Nothing to be done" not in dry.stdout


@pytest.mark.parametrize("line", sorted(line for line in LINES if line.startswith("python -m benchmarks.")))
def test_a_benchmark_takes_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """Its words are what the benchmark reads; to run one takes minutes, which is what it is for."""
    module, *words = re.sub(r"\[|\]", "", line).split()[2:]
    package = (PROJECT / module.replace(".", "/")).is_dir()
    main = importlib.import_module(f"{module}.__main__" if package else module).main

    def ends_with(arguments: list[str]) -> object:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    assert ends_with([*words, "--help"]) == 0
    assert module.split(".")[1] in capsys.readouterr().out
    assert ends_with([*words, "one", "too many"]) == 2


def as_installed(folder: Path) -> dict[str, str]:
    """An environment in which a shell finds this Python as `python`, and the project from any folder."""
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    return os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)}


def test_the_page_of_the_configuration_is_written(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    line = "python -m release.configuration_page > docs/configuration.md"
    subprocess.run(["sh", "-c", line], cwd=tmp_path, env=as_installed(tmp_path), check=True)
    written = (tmp_path / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_package_is_the_program(tmp_path: Path) -> None:
    line = "python -m cli --version"
    ended = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=as_installed(tmp_path), check=True, capture_output=True
    )
    assert ended.stdout.startswith(b"repro ")


def test_the_page_of_the_ground_truth_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its estimator is the gradient inner product, so that its scores are those of grad_dot."""
    furnish(tmp_path, monkeypatch, num_train=600)
    page = (PROJECT / "docs" / "ground-truth.md").read_text(encoding="utf-8")
    for block in blocks(page, ("sh",)):
        for line in block.strip().splitlines():
            run_line(line.split("  #")[0])
    names: dict[str, object] = {}
    for block in blocks(page, ("python",)):
        exec(block, names)
    said = capsys.readouterr().out
    succeed("influence", "--method", "grad_dot", "output_dir=outputs/truth")
    table = pd.read_csv("outputs/truth/influence/grad_dot.csv")
    np.testing.assert_allclose(np.load("my_scores.npy"), table["predicted_change"], rtol=1e-10)
    assert re.search(r"r 0\.\d{4}  slope \d", said), said
    # What the page says of forgotten factors: the scoring shows them, however small.
    scoring = blocks(page, ("python",))[-1]
    slope = float(said.split("slope ")[1].split()[0])
    for factor in (-600, 600, -1, 1 / 25):
        np.save("my_scores.npy", factor * table["predicted_change"])
        exec(scoring, {})
        found = float(capsys.readouterr().out.split("slope ")[1].split()[0])
        assert found == pytest.approx(slope / factor, rel=2e-3)


def test_every_snippet_of_python_is_run() -> None:
    with_python = {
        str(page.relative_to(PROJECT))
        for page in documents()
        if blocks(page.read_text(encoding="utf-8"), ("python", "py"))
    }
    assert with_python == set(registry.PAGES)


def test_every_key_that_is_named_with_a_value_exists() -> None:
    """`KEY=VALUE` between marks, on a page or in a message: the key is one of the configuration."""
    known = {*all_keys(), *groups(), "influence.tolerance", "hydra/launcher"}
    named = {
        (where, word.split("=")[0])
        for where, span in spans()
        for word in re.split(r"\s", span)
        if re.fullmatch(r"[a-z_]+[./][a-z_0-9.]+=\S+|(data|model|fit|plot|influence|experiment)=\S+", word)
    }
    assert len(named) > 20
    assert not {(where, key) for where, key in named if key not in known}


def test_the_finder_sees_every_kind_of_place() -> None:
    """A block, a sentence, help, an epilog, a message, an echo, a comment, a page's template."""
    assert {
        ("README.md", "repro retrain --gpus 4"),
        ("README.md", "pip install -c constraints.txt -e ."),
        ("docs/configuration.md", "repro config KEY=VALUE …"),
        ("repro train --help", "repro train data=digits model.l2=0.001"),
        ("repro train --help", "repro config"),
        ("repro/configuration/validation.py", "repro config"),
        ("repro/agreement.py #1", "repro retrain {}"),
        ("repro/page/commands.py #1", "repro {}"),
        ("Makefile", "make figure"),
        ("Makefile", "repro --help"),
        ("configs/experiment/report.yaml", "repro diagnose experiment=report"),
        ("report/templates/making.html.jinja", "repro check"),
    } <= {(printed.where, printed.line) for printed in PRINTED}
