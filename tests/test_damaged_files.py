"""A damaged or foreign file in a run folder is named, set aside and made again; it is never used."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from tests.command_line import FAST, repro, succeed

METHODS = ("--method", "cg", "--method", "lissa")
SETTINGS = (*FAST, "influence.depth=200", "influence.repeats=2")


def run(folder: Path, *more: str) -> str:
    """All four stages; what was said on stderr."""
    result = repro("run", *METHODS, *SETTINGS, *more, f"output_dir={folder}")
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody touches."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(folder)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of another θ̂: where foreign files come from."""
    folder = tmp_path_factory.mktemp("other") / "run"
    run(folder, "model.l2=0.02")
    return folder


def flipped(share: float, bit: int = 0) -> Callable[[bytes], bytes]:
    """One bit turned, so far into the file."""

    def damage(content: bytes) -> bytes:
        offset = min(int(share * len(content)), len(content) - 1)
        return content[:offset] + bytes([content[offset] ^ (1 << bit)]) + content[offset + 1 :]

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "other bytes": lambda content: b"\x80\x04K\x01." * 20,
    "longer": lambda content: content + b"\n",
    **{f"bit flipped at {share:.0%}": flipped(share, bit=3) for share in (0.0, 0.01, 0.3, 0.5, 0.8, 1.0)},
}
QUICK = "bit flipped at 50%"
HARMLESS = {("checksums.json", "without its last byte"), ("checksums.json", "longer")}
"""The white space at the end of it says nothing, so there is nothing to repair."""
READ_LATER = (
    "checksums.json",
    "model.safetensors",
    "influence/cg.csv",
    "influence/cg.json",
    "retrain/",
)


def names(folder: Path) -> list[str]:
    """Every file of a run but the lock, weight files by their place in the order."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )


def assert_repaired(finished: Path, folder: Path, name: str, said: str) -> None:
    assert name.rsplit("/", maxsplit=1)[-1] in said
    assert (folder / f"{name}.set-aside-1").exists()
    for table in ("leave_one_out.csv", "influence/cg.csv", "influence/lissa.csv"):
        assert (folder / table).read_bytes() == (finished / table).read_bytes()
    assert set(names(finished)) <= set(names(folder))


def damage_each(
    finished: Path, tmp_path: Path, kinds: Collection[str], which: tuple[str, ...] = ("",)
) -> None:
    """Damage the files whose names start so, one at a time, and run again."""
    for number, name in enumerate(names(finished)):
        for kind in kinds if name.startswith(which) else ():
            folder = tmp_path / f"{number} {kind}"
            shutil.copytree(finished, folder)
            path = folder / name
            path.write_bytes(DAMAGES[kind](path.read_bytes()))
            if (name, kind) in HARMLESS:
                assert run(folder) == ""
                continue
            try:
                assert_repaired(finished, folder, name, run(folder))
            except AssertionError as error:
                raise AssertionError(f"{name}, {kind}") from error
            shutil.rmtree(folder)


@pytest.mark.slow
def test_damaged_files_that_are_read_later_are_named_and_made_again(finished: Path, tmp_path: Path) -> None:
    damage_each(finished, tmp_path, [QUICK], READ_LATER)


@pytest.mark.slow
def test_every_damaged_file_is_named_and_made_again_however_it_is_damaged(
    finished: Path, tmp_path: Path
) -> None:
    damage_each(finished, tmp_path, DAMAGES)


@pytest.mark.slow
def test_files_of_another_run_are_not_used(finished: Path, other: Path, tmp_path: Path) -> None:
    for number, name in enumerate(names(finished)):
        foreign = other / name
        if not foreign.exists():  # weight files are named by their content
            continue
        folder = tmp_path / str(number)
        shutil.copytree(finished, folder)
        if foreign.read_bytes() == (folder / name).read_bytes():
            continue
        shutil.copy(foreign, folder / name)
        if name == "checksums.json":
            # A sound manifest of other files: it vouches for none of these.
            said = run(folder)
            assert "model.safetensors" in said
            assert (folder / "leave_one_out.csv").read_bytes() == (
                finished / "leave_one_out.csv"
            ).read_bytes()
            continue
        assert_repaired(finished, folder, name, run(folder))


def test_weights_of_another_model_lie_beside_and_are_left_alone(
    finished: Path, other: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    foreign = next((other / "retrain" / "weights").glob("*.safetensors"))
    shutil.copy(foreign, folder / "retrain" / "weights")
    assert "set aside" not in run(folder)
    assert (folder / "leave_one_out.csv").read_bytes() == (finished / "leave_one_out.csv").read_bytes()
    assert (folder / "retrain" / "weights" / foreign.name).exists()


def test_a_table_that_nobody_wrote_is_not_drawn(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for suffix in ("csv", "json"):
        shutil.copy(folder / "influence" / f"cg.{suffix}", folder / "influence" / f"mine.{suffix}")
    said = run(folder)
    assert "mine.csv was not written by this tool" in said
    assert (folder / "leave_one_out.csv").read_bytes() == (finished / "leave_one_out.csv").read_bytes()


def test_leftovers_of_a_kill_are_cleared_and_notes_are_kept(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    leftover = folder / "retrain" / "weights" / ".unfinished-abc.safetensors"
    leftover.write_bytes(b"half a file")
    (folder / "notes.txt").write_text("mine")
    (folder / "plots" / "mine.png").write_text("mine")
    assert "set aside" not in run(folder)
    assert not leftover.exists()
    assert (folder / "notes.txt").read_text() == (folder / "plots" / "mine.png").read_text() == "mine"


def test_a_configuration_that_was_lost_does_not_let_another_in(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "config.yaml").write_text("damaged")
    result = repro("run", *METHODS, *SETTINGS, "model.l2=0.5", f"output_dir={folder}")
    assert result.exit_code == 1
    assert "model.l2: 0.01 there, 0.5 asked for" in result.stderr
    assert succeed("run", *METHODS, *SETTINGS, f"output_dir={folder}")
