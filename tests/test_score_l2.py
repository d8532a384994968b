"""What scores are held against to see where L2 is: what `repro retrain` leaves, and what needs no torch."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

import repro.score_l2
from repro import score
from repro.errors import StageError
from repro.experiment import Experiment
from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder
from repro.records.l2_terms import MODEL, KeptTerms, add_terms, read_terms, terms_key
from repro.score_l2 import TOLERANCE
from tests.command_line import PROJECT, succeed
from tests.test_score_command import clean

TARGET = 3


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run, which may be written into."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def near(values: np.ndarray, way: float = 0.1) -> np.ndarray:
    """An honest estimator so near the exact one that L2 is asked for."""
    noise = np.random.default_rng(0).normal(size=len(values))
    return np.asarray(values + way * values.std() * noise)


def term_of(run: Path) -> np.ndarray:
    """λθ̂ᵀH⁻¹∇L(zᵢ)/n by a dense solution."""
    session = Experiment(str(run)).session
    risk, theta = session.risk, session.model().theta
    solution = torch.linalg.solve(risk.curvature(theta).matrix(), risk.l2 * theta)
    found: np.ndarray = (risk.per_example_gradient_dot(theta, solution) / risk.num_examples).numpy()
    return found


def judged_alone(run: Path, scores: Path) -> tuple[list[str], bool]:
    """The faults that a process of its own names, and whether it has loaded torch."""
    code = (
        "import json, sys, typer.testing as t, cli.main as m;"
        f"words = ['score', {str(scores)!r}, '--against', {str(run)!r}, '--log-json'];"
        "r = t.CliRunner().invoke(m.app, words);"
        "loaded = 'torch' in sys.modules or 'scipy.stats' in sys.modules;"
        "print(json.dumps([r.output.splitlines(), loaded])); sys.exit(r.exit_code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines, loaded = json.loads(ended.stdout.splitlines()[-1])
    (found,) = (one for line in lines if (one := json.loads(line))["event"] == "scored")
    return found["faults"], loaded


def test_retraining_leaves_the_term_of_the_test_gradient(run: Path) -> None:
    (kept,) = load_file(run / "l2_terms.safetensors").values()
    exact = term_of(run)
    assert np.linalg.norm(kept - exact) <= 10 * TOLERANCE * np.linalg.norm(exact)
    assert "l2_terms.safetensors" in json.loads((run / "checksums.json").read_text())["files"]


def test_judging_needs_no_torch(run: Path, tmp_path: Path) -> None:
    """Which would be half of its time: what the run folder holds is enough."""
    np.save(tmp_path / "mine.npy", -300 * near(clean(run)))
    assert judged_alone(run, tmp_path / "mine.npy") == (["sign", "factor_n"], False)


def test_what_is_kept_is_believed_and_what_is_of_another_model_is_not(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", clean(run) + term_of(run))
    folder, other = RunFolder(run), np.random.default_rng(1).permutation(term_of(run))
    key = terms_key(Experiment(str(run)).session.model().facts)
    left = load_file(folder.l2_terms)["test_gradient"]
    for kept_for, term, believed in (
        (key, left, True),
        (key, other, True),
        ("f" * 64, other, False),
        (key, other[:-1], False),
        (key, np.full_like(other, np.nan), False),
        (key, np.full_like(other, 1e306), False),
    ):
        folder.l2_terms.unlink()
        add_terms(folder, kept_for, KeptTerms(test_gradient=term))
        assert score(tmp_path / "mine.npy", run).fault_names == (
            [] if believed and term is other else ["l2_test"]
        )
        # What was asked for anew stays.
        np.testing.assert_array_equal(load_file(folder.l2_terms)["test_gradient"], term if believed else left)
    write_result(folder, folder.l2_terms, lambda path: path.write_bytes(b"no tensors"))
    assert score(tmp_path / "mine.npy", run).fault_names == ["l2_test"]
    np.testing.assert_array_equal(load_file(folder.l2_terms)["test_gradient"], left)


def test_without_a_precise_method_the_exact_solution_is_kept(run: Path, tmp_path: Path) -> None:
    exact = clean(run)
    np.save(tmp_path / "mine.npy", near(exact))
    for suffix in ("csv", "json"):
        (run / "influence" / f"cg.{suffix}").unlink()
    assert score(tmp_path / "mine.npy", run).fault_names == []
    kept = read_terms(RunFolder(run), terms_key(Experiment(str(run)).session.model().facts))
    np.testing.assert_allclose(kept.reference[TARGET], exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())
    assert kept.test_gradient is not None
    assert judged_alone(run, tmp_path / "mine.npy") == ([], False)


@pytest.mark.parametrize(
    "arrays",
    [
        {"test_gradient": torch.zeros(300, dtype=torch.bfloat16)},
        {"test_gradient": torch.zeros(300, dtype=torch.int64)},
        {"test_gradient": torch.zeros(())},
        {"test_gradient": torch.zeros(2, 300, dtype=torch.float64)},
        {"reference/three": torch.zeros(300, dtype=torch.float64)},
        {f"reference/{TARGET}": torch.zeros(7, dtype=torch.float64)},
    ],
)
def test_a_forged_file_is_not_used(run: Path, tmp_path: Path, arrays: dict[str, torch.Tensor]) -> None:
    np.save(tmp_path / "mine.npy", near(clean(run)))
    folder = RunFolder(run)
    left = load_file(folder.l2_terms)["test_gradient"]
    metadata = {MODEL: terms_key(Experiment(str(run)).session.model().facts)}
    write_result(folder, folder.l2_terms, lambda path: save_file(arrays, path, metadata=metadata))
    (run / "influence" / "cg.json").unlink()
    assert score(tmp_path / "mine.npy", run).fault_names == []
    if f"reference/{TARGET}" not in arrays:
        np.testing.assert_allclose(load_file(folder.l2_terms)["test_gradient"], left, rtol=1e-12)


def test_a_solution_that_cannot_be_kept_or_had_costs_no_score(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scores = tmp_path / "mine.npy"
    np.save(scores, clean(run) + term_of(run))
    RunFolder(run).l2_terms.unlink()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(repro.score_l2, "add_terms", full)
        assert score(scores, run).fault_names == ["l2_test"]
        assert "is not written" in caplog.records[-1].message
        succeed("retrain", run)

    in_use = MagicMock()
    in_use.return_value.__enter__.side_effect = StageError("another command has it open")
    RunFolder(run).l2_terms.unlink(missing_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(repro.score_l2, "open_run", in_use)
        assert score(scores, run).fault_names == ["l2_test"]
        assert "another command has it open" in caplog.records[-1].message
    # Without θ̂ the table of the exact solution still tells whether L2 is in the training gradient.
    (run / "model.safetensors").unlink()
    np.save(scores, near(clean(run), 0.05) + 0.2 * np.abs(clean(run)).max())
    assert score(scores, run).fault_names == ["l2_train"]
    assert "L2 is not looked for" in caplog.records[-1].message


def test_a_network_is_left_alone(tmp_path: Path) -> None:
    """A solution with its H may take many passes, and is made where a score asks for it."""
    small = ("data=digits", "data.num_train=60", "model=network", "model.hidden=2", "model.l2=1")
    succeed("train", *small, f"output_dir={tmp_path}/run")
    succeed("retrain", f"{tmp_path}/run", "removals=random", "removals.count=2")
    assert not RunFolder(tmp_path / "run").l2_terms.exists()


def test_retraining_again_keeps_what_is_there(run: Path) -> None:
    before = (run / "l2_terms.safetensors").read_bytes()
    succeed("retrain", str(run))
    assert (run / "l2_terms.safetensors").read_bytes() == before
