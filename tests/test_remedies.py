"""The command line that a message names is run as it is named; after it, what was refused goes through."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from repro.folder.manifest import write_text_result
from repro.folder.paths import RunFolder
from tests.command_line import repro
from tests.printed_scene import run_line

SMALL = ("data=digits", "data.num_train=120", "top_k=10", "'plot.formats=[png]'")


OVERRIDES = " ".join([*SMALL, "'output_dir=my runs/one'"])
"""A small run in a folder whose name a shell would take apart."""


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which that run is trained, and has predictions by cg."""
    folder = tmp_path_factory.mktemp("predicted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_line(f"repro train {OVERRIDES}")
        run_line(f"repro influence --method cg {OVERRIDES}")
    return folder


@pytest.fixture
def run(predicted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder, a copy; the current folder is the one it lies in."""
    shutil.copytree(predicted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my runs" / "one"


def remedy(line: str) -> str:
    """Run a line that is refused; the one that the message tells to run."""
    result = repro(*shlex.split(line)[1:])
    assert result.exit_code == 1, result.output
    (named,) = re.findall(r"(?:Run first|Run again|or run|and run): (repro .*)", result.stderr)
    return str(named)


def helps(line: str) -> None:
    """What the message names runs, and then the line that was refused does."""
    run_line(remedy(line))
    run_line(line)


def test_a_diagnosis_of_groups_by_a_method_that_has_not_predicted_them(run: Path) -> None:
    # Two groups are too few to judge by, so that nothing fails once they are predicted.
    groups = f"removals=random_groups 'removals.sizes=[0.05]' removals.count=2 {OVERRIDES}"
    run_line(f"repro run --method cg {groups}")
    helps(f"repro diagnose --method exact {groups}")


def test_a_stage_before_training(run: Path) -> None:
    shutil.rmtree(run)
    helps(f"repro influence --method cg {OVERRIDES}")


def test_a_damaged_model(run: Path) -> None:
    model = run / "model.safetensors"
    # As the manifest has it, so that it is not set aside: another version of this tool wrote it.
    write_text_result(RunFolder(run), model, "no model")
    line = f"repro influence --method cg {OVERRIDES}"
    named = remedy(line)
    # "Remove it and run", which is what the message says.
    model.unlink()
    run_line(named)
    run_line(line)


def test_a_stage_before_influence(run: Path) -> None:
    shutil.rmtree(run / "influence")
    helps(f"repro retrain {OVERRIDES} influence=cg")


def test_predictions_of_another_test_point(run: Path) -> None:
    helps(f"repro retrain {OVERRIDES} test_index=4")


def test_predictions_with_other_settings(run: Path) -> None:
    helps(f"repro retrain {OVERRIDES} influence=cg influence.tolerance=1e-4")


def test_truth_before_retraining(run: Path) -> None:
    helps(f"repro ground-truth --out truth.csv {OVERRIDES}")


def test_a_figure_before_retraining(run: Path) -> None:
    helps(f"repro plot {OVERRIDES}")


def test_a_figure_from_an_incomplete_copy(run: Path) -> None:
    """Of a run on two machines: the record and half of the models, as a copy has it that was broken off."""
    run_line(f"repro retrain {OVERRIDES} retrain.batch_size=4")
    next((run / "retrain" / "weights").glob("*.safetensors")).unlink()
    line = f"repro plot {OVERRIDES}"
    said = " ".join(repro(*shlex.split(line)[1:]).stderr.split())
    found = re.search(r"(\d) of 11 retrained models are missing .* says that (\d) of them were solved", said)
    assert found is not None
    assert found[1] == found[2]
    assert "it is incomplete: copy the rest of my runs/one/retrain/weights from where it was made" in said
    helps(line)


def test_models_of_another_question_are_no_incomplete_copy(run: Path) -> None:
    """Its record says what was solved of this θ̂; with another damping it was not."""
    run_line(f"repro retrain {OVERRIDES}")
    line = f"repro plot {OVERRIDES} retrain.damping=0.05"
    said = " ".join(repro(*shlex.split(line)[1:]).stderr.split())
    assert "11 of 11 retrained models are missing" in said
    assert "were solved" not in said
    helps(line)


def test_a_figure_on_the_machine_that_does_not_have_all_models(run: Path) -> None:
    """The folder of a machine without process 0: its own models, and no record."""
    run_line(f"repro retrain {OVERRIDES} retrain.batch_size=4")
    next((run / "retrain" / "weights").glob("*.safetensors")).unlink()
    (run / "retrain" / "record.json").unlink()
    line = f"repro plot {OVERRIDES}"
    said = " ".join(repro(*shlex.split(line)[1:]).stderr.split())
    assert "process 0, whose machine `repro retrain` named at its end, has all models" in said
    helps(line)


GROUPS = "removals=random_groups 'removals.sizes=[0.05,0.2]' removals.count=4"


def test_groups_before_retraining(run: Path) -> None:
    helps(f"repro plot {OVERRIDES} {GROUPS}")


def test_truth_of_groups_before_they_are_retrained(run: Path) -> None:
    run_line(f"repro retrain {OVERRIDES}")
    helps(f"repro ground-truth --out truth.csv {OVERRIDES} {GROUPS}")


def test_dattri_before_retraining(run: Path) -> None:
    """Neither points nor halves are there."""
    run_line(f"repro retrain {OVERRIDES} {GROUPS}")
    helps(f"repro ground-truth --format dattri --out truth {OVERRIDES}")


def warned(line: str) -> str:
    """Run a line that goes through with a warning; the one that the warning tells to run."""
    result = repro(*shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    (named,) = re.findall(r"Anew: (repro .*)", result.stderr)
    return str(named)


def test_predictions_that_are_old(run: Path) -> None:
    run_line(f"repro retrain {OVERRIDES}")
    record = run / "influence" / "cg.json"
    content = json.loads(record.read_text())
    del content["written"]  # as an earlier version left it
    write_text_result(RunFolder(run), record, json.dumps(content))
    run_line(warned(f"repro plot {OVERRIDES}"))
    assert "Anew" not in repro(*shlex.split(f"plot {OVERRIDES}")).stderr


def test_a_page_that_is_old(run: Path) -> None:
    for stage in ("retrain", "report"):
        run_line(f"repro {stage} {OVERRIDES}")
    line = f"repro plot {OVERRIDES} top_k=5"
    run_line(warned(line))
    assert "Anew" not in repro(*shlex.split(line)[1:]).stderr
