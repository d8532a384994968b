"""The GitHub workflow, the container file, the notebook, the recording and the metadata say what is so."""

import ast
import itertools
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from release.container import Step, steps, try_steps
from release.recording import COMMANDS, draw
from release.workflow import Job, jobs
from repro.configuration.compose import compose_methods
from tests.command_line import PROJECT, repro

PYPROJECT: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW: dict[str, Any] = yaml.safe_load(
    (PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
)
TARGETS = set(re.findall(r"^(\w+):.*## ", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
JOBS = list(jobs(WORKFLOW))
NOTEBOOK: dict[str, Any] = json.loads(
    (PROJECT / "examples" / "five_minutes.ipynb").read_text(encoding="utf-8")
)
CONTAINERFILE = (PROJECT / "Containerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("job", JOBS, ids=[job.name for job in JOBS])
def test_every_step_of_the_workflow_is_a_make_target(job: Job) -> None:
    assert job.commands
    for command in job.commands:
        word, target = command.split()
        assert (word, target in TARGETS) == ("make", True), command


def test_the_workflow_does_what_a_local_check_does_and_more() -> None:
    done = {command.split()[1] for job in JOBS for command in job.commands}
    local = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
    assert set(re.findall(r"^make (\w+)", local, re.MULTILINE)) <= done
    assert {"lint", "types", "test", "lowest", "newest", "wheel", "site", "notebook", "container"} <= done


def test_the_workflow_tests_the_pythons_that_the_package_names() -> None:
    tested = [job.python for job in JOBS if job.commands == ("make test",)]
    named = [text.rpartition(" ")[2] for text in PYPROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert tested == named == sorted(named, key=Version)
    allowed = SpecifierSet(PYPROJECT["requires-python"])
    assert Version(named[0]) in allowed
    first = Version(named[0])
    assert Version(f"{first.major}.{first.minor - 1}") not in allowed


def test_a_step_that_cannot_be_taken_here_is_refused() -> None:
    step = {"steps": [{"uses": "actions/cache@v4"}]}
    with pytest.raises(ValueError, match="actions/cache"):
        list(jobs({"jobs": {"tests": step}}))


def test_constraints_pin_everything_that_is_required_within_its_bounds() -> None:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    pinned = {_normal(name): version for name, version in (line.split("==") for line in lines)}
    extras = PYPROJECT["optional-dependencies"]
    texts = [*PYPROJECT["dependencies"], *extras["dev"], *extras["docs"], *extras["release"]]
    for requirement in map(Requirement, texts):
        assert pinned[_normal(requirement.name)] in requirement.specifier, requirement


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_container_file_makes_the_figure_on_digits() -> None:
    last = steps(CONTAINERFILE)[-1]
    shell, option, line = json.loads(last.value)
    assert (shell, option) == ("sh", "-c")
    commands = [shlex.split(command) for command in line.split("&&")]
    assert [words[:3] for words in commands] == [
        ["repro", "run", "data=digits"],
        ["repro", "report", "data=digits"],
    ]
    for words in commands:
        assert_composes(words)


@pytest.mark.parametrize(
    "text", ["FROM a\nEXPOSE 80\nCMD []", "FROM a\nRUN true", "FROM a\nCMD []\nRUN true", "CMD []\nCMD []"]
)
def test_a_container_file_that_cannot_be_tried_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="container file"):
        steps(text)


def test_the_steps_of_a_container_file_are_taken_in_order(tmp_path: Path) -> None:
    taken: list[tuple[object, ...]] = []

    class Room:
        folder = tmp_path

        def run(self, command: object, folder: Path, **variables: str) -> None:
            taken.append((command, folder, variables))

    text = 'FROM x\nWORKDIR /a\nRUN one \\\n two\nENV HOME=/b\nWORKDIR /b\nUSER 1\nCMD ["three"]\n'
    assert steps(text)[2] == Step("RUN", "one   two")
    assert try_steps(Room(), text) == tmp_path / "b"  # type: ignore[arg-type]
    assert taken == [
        ("one   two", tmp_path / "a", {}),
        (["three"], tmp_path / "b", {"HOME": str(tmp_path / "b")}),
    ]


def test_the_notebook_is_python_whose_commands_are_known_and_holds_no_output() -> None:
    shell = []
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == []
        first, *lines = "".join(cell["source"]).splitlines()
        if first == "%%bash":
            shell += [line for line in lines if line != "set -e"]
        else:
            ast.parse("\n".join([first, *lines]))
    assert [line.split()[1] for line in shell] == ["run", "report", "check"]
    for line in shell[:2]:
        assert_composes(shlex.split(line))


def test_the_recording_is_of_known_commands_and_what_they_say_now(tmp_path: Path) -> None:
    """The two methods without chance, to the last digit that is shown."""
    svg = (PROJECT / "docs" / "first_run.svg").read_text(encoding="utf-8")
    shown = re.sub(r"<[^>]+>", "\n", svg).replace("&#160;", " ")
    assert all(command in shown for command in COMMANDS)
    assert "https://fonts" not in svg
    assert "@font-face" not in svg
    run = shlex.split(COMMANDS[0])[1:-1]
    result = repro(*run, "plot.formats=[png]", f"output_dir={tmp_path / 'run'}")
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    for name in ("cg", "grad_dot"):
        found = summary["methods"][name]
        row = next(line.split() for line in shown.splitlines() if line.split()[:1] == [name])
        assert row[1:4] == [f"{found['pearson']:.5f}", f"{found['spearman']:.5f}", f"{found['slope']:.4f}"]
    assert "Everything in outputs/demo follows from the data and the stored weights." in shown


def test_a_recording_shows_what_was_said_in_its_colours() -> None:
    svg = draw([("true", "\x1b[32mgood\x1b[0m  & <well>\n")])
    assert "$&#160;" in svg
    assert "good" in svg
    assert "&amp;&#160;&lt;well&gt;" in svg


def test_readme_shows_the_recording_and_the_wheel_is_tried_with_every_method() -> None:
    assert "(docs/first_run.svg)" in (PROJECT / "README.md").read_text(encoding="utf-8")
    files = [path.stem for path in sorted((PROJECT / "configs" / "influence").glob("*.yaml"))]
    printed = subprocess.run(
        ["make", "-n", "wheel"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    run, *_ = [line for line in printed.stdout.splitlines() if "repro run" in line]
    assert sorted(re.findall(r"--method (\w+)", run)) == files


def assert_composes(words: list[str]) -> None:
    """A command line of `repro run` or `report` that the configuration accepts."""
    assert words[0] == "repro"
    methods = [word for before, word in itertools.pairwise(words) if before == "--method"]
    overrides = [word for word in words[2:] if "=" in word]
    assert len(overrides) + 2 * len(methods) == len([word for word in words[2:] if word != "--quiet"])
    compose_methods(overrides, methods)
