"""No command reads, writes, renames or removes anything outside the run folder because of what lies in it."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.folder.paths import RunFolder
from tests.command_line import repro, succeed
from tests.forged import SETTINGS, forge_config, forge_json, forge_manifest, tree


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunFolder:
    """A copy to forge."""
    return RunFolder(Path(shutil.copytree(finished_run, tmp_path / "theirs" / "run")))


@pytest.fixture
def victim(tmp_path: Path, finished_run: Path) -> Path:
    """A folder outside that has files of every kind which commands rename or remove in a run folder."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("notes.txt", "cg.json", "cg.csv", ".unfinished-1", "x.set-aside-1", "gallery_9.png"):
        (folder / name).write_text(f"precious {name}", encoding="utf-8")
    for weights in RunFolder(finished_run).weights.iterdir():
        shutil.copy(weights, folder)
    return folder


@pytest.fixture(autouse=True)
def _no_hanging() -> Iterator[None]:
    """A command that waits for a pipe is ended."""

    def stop(*_: object) -> None:
        raise TimeoutError("the command waits for something")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def commands(run: RunFolder) -> dict[str, list[str]]:
    """What reads, what writes, and what removes."""
    return {
        "check": ["check", str(run.path)],
        "plot": ["plot", *SETTINGS, f"output_dir={run.path}"],
        "run": ["run", "--method", "cg", *SETTINGS, f"output_dir={run.path}"],
    }


def as_folder(name: str) -> Callable[[RunFolder, Path], None]:
    """In the place of a folder of the run, a link to the victim's."""

    def link(run: RunFolder, victim: Path) -> None:
        shutil.rmtree(run.path / name)
        (run.path / name).symlink_to(victim)

    return link


def as_file(name: str, to: str = "notes.txt") -> Callable[[RunFolder, Path], None]:
    """In the place of a file of the run, a link to one of the victim's, which need not be there."""

    def link(run: RunFolder, victim: Path) -> None:
        (run.path / name).unlink(missing_ok=True)
        (run.path / name).symlink_to(victim / to)

    return link


def as_relative(run: RunFolder, victim: Path) -> None:
    """One more, by a relative path."""
    (run.path / "plots" / "x").symlink_to(f"../../../{victim.name}")


LINKS = {
    "weights": as_folder("retrain/weights"),
    "influence": as_folder("influence"),
    "plots": as_folder("plots"),
    "lock": as_file(".lock"),
    "lock holder": as_file(".lock-holder"),
    "lock holder to nothing": as_file(".lock-holder", "new.txt"),
    "configuration": as_file("config.yaml"),
    "manifest": as_file("checksums.json"),
    "relative": as_relative,
}


@pytest.mark.parametrize("command", ["check", "plot"])
@pytest.mark.parametrize("kind", LINKS)
def test_links_out_of_the_folder_are_refused(run: RunFolder, victim: Path, kind: str, command: str) -> None:
    LINKS[kind](run, victim)
    before = tree(victim)
    result = repro(*commands(run)[command])
    assert tree(victim) == before
    assert result.exit_code == 2, result.output
    assert "link" in result.stderr
    assert "Traceback" not in result.output


def test_links_within_the_folder_and_to_it_are_followed(run: RunFolder, tmp_path: Path) -> None:
    (run.path / "elsewhere").mkdir()
    run.weights.rename(run.path / "elsewhere" / "weights")
    run.weights.symlink_to("../elsewhere/weights")
    (tmp_path / "link").symlink_to(run.path)
    assert "follows from the data" in succeed("check", tmp_path / "link")


@pytest.mark.parametrize("command", ["check", "plot"])
@pytest.mark.parametrize("name", ["config.yaml", "influence/new.json", "report.html"])
def test_what_is_no_file_is_not_waited_for(run: RunFolder, name: str, command: str) -> None:
    signal.alarm(60)
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    result = repro(*commands(run)[command])
    assert result.exit_code == 2, result.output
    assert name in result.stderr


@pytest.mark.parametrize("command", ["check", "plot", "run"])
@pytest.mark.parametrize(
    "name",
    ["../../victim/notes.txt", "{victim}/notes.txt", "influence/../../../victim/notes.txt", "a\x1b[2Jb"],
)
def test_names_that_lead_out_of_the_folder_are_refused(
    run: RunFolder, victim: Path, name: str, command: str
) -> None:
    before = tree(victim)
    forge_manifest(run, **{name.format(victim=victim): ["0" * 64]})
    result = repro(*commands(run)[command])
    assert tree(victim) == before
    assert result.exit_code == 2, result.output
    assert "checksums.json names" in result.stderr
    assert "\x1b" not in result.output


@pytest.mark.parametrize("files", [["x"], {"x": "abc"}, {"x": 3}, {"x": [3]}, "x", None, 7])
def test_a_manifest_of_another_form_is_a_damaged_one(run: RunFolder, files: Any) -> None:
    from repro.folder.manifest import FORMAT, _checksum

    run.manifest.write_text(
        json.dumps({"format": FORMAT, "files": files, "checksum": _checksum(files)}), encoding="utf-8"
    )
    result = repro("check", run.path)
    assert result.exit_code == 1
    assert "checksums.json is damaged" in result.stdout
    assert "Traceback" not in result.output


def test_a_record_that_names_another_method_does_not_move_its_figure(run: RunFolder, tmp_path: Path) -> None:
    """The figure of its trace lay beside the table that it names, which can be outside."""
    outside = tmp_path / "theirs" / "outside"
    for folder in (outside, run.path / "influence" / "a", run.path / "plots" / "trace_a"):
        folder.mkdir()
    shutil.copy(run.influence_table("cg"), outside / "cg.csv")
    forge_json(
        run,
        run.influence_record("cg"),
        lambda record: record.update(method="a/../../../outside/cg"),
    )
    before = tree(outside)
    result = repro("plot", *SETTINGS, f"output_dir={run.path}")
    assert tree(outside) == before
    assert result.exit_code == 1
    assert "the record of cg is missing or damaged" in result.stderr


def test_nothing_is_downloaded_to_where_a_folder_says(run: RunFolder, tmp_path: Path) -> None:
    chosen = tmp_path / "victim" / "data"
    data = {"root": str(chosen), "num_train": None, "num_validation": 5000}
    forge_config(run, data={"_target_": "erm.data.mnist.load_mnist", **data})
    result = repro("check", run.path)
    assert not chosen.parent.exists()
    assert result.exit_code == 1
    assert "--data-root" in result.stderr


def test_where_a_run_says_that_it_lies_is_not_used(run: RunFolder, victim: Path) -> None:
    before = tree(victim)
    forge_config(run, output_dir=str(victim))
    assert "follows from the data" in succeed("check", run.path)
    assert "wrote" in succeed("plot", *SETTINGS, f"output_dir={run.path}")
    assert tree(victim) == before


def test_data_that_moved_are_read_from_where_the_user_says(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 3)), np.arange(60) % 3
    path, folder = tmp_path / "mine.npz", tmp_path / "run"
    np.savez(path, x_train=x, y_train=y, x_test=x[:5], y_test=y[:5])
    succeed("train", "data=npz", f"data.path={path}", "top_k=5", f"output_dir={folder}")
    moved = path.rename(tmp_path / "moved.npz")
    assert repro("check", folder).exit_code == 2
    assert "good  θ̂" in succeed("check", folder, "--data-root", moved)


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/stdin", "/etc/passwd", "{folder}", "{folder}/pipe", "x\0y"]
)
def test_data_that_a_folder_names_are_files_of_numbers_or_refused(
    run: RunFolder, tmp_path: Path, path: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    data = {"_target_": "erm.data.npz.load_npz", "num_train": None}
    forge_config(run, data={**data, "path": path.format(folder=tmp_path)})
    result = repro("check", run.path)
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    assert "root:" not in result.output


def test_arrays_that_claim_more_than_there_is_are_refused(run: RunFolder, tmp_path: Path) -> None:
    import io
    import zipfile

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**4)}
    )
    path = tmp_path / "claims.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", header.getvalue())
    forge_config(run, data={"_target_": "erm.data.npz.load_npz", "num_train": None, "path": str(path)})
    result = repro("check", run.path)
    assert result.exit_code == 2
    assert "x_train" in result.stderr
    assert "Traceback" not in result.output


def test_programs_that_are_started_import_nothing_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks and the runs of a sweep are started in the folder that the user stands in, maybe a stranger's."""
    from parallel import launch
    from repro.program import program
    from repro.sweep import job as sweep_job

    started: list[list[str]] = []
    monkeypatch.setattr(
        launch, "elastic_launch", lambda _, program: lambda *words: started.append([program, *words])
    )
    launch.launch([program(), "--version"], 2)
    monkeypatch.setattr(subprocess, "run", lambda words, **_: started.append(list(words)))
    sweep_job.start(["--version"], tmp_path / "run")
    monkeypatch.undo()
    canary = tmp_path / "canary"
    for name in ("cli", "configs", "typer", "hydra_plugins"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(canary)!r}, 'w')\n", encoding="utf-8")
    assert len(started) == 2
    for words in started:
        ended = subprocess.run(
            [word for word in words if not word.startswith("output_dir=")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.stdout.startswith("repro "), ended.stderr
        assert words[0] == program()
    assert not canary.exists()
