"""Models that miss their tolerance: what is said of them is true, and so are their certificates."""

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.command_line import FAST, repro, succeed


@pytest.fixture
def few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is left where two passes bring it."""
    from retrain import certified_softmax, solver

    monkeypatch.setattr(solver, "MAX_PASSES", 2)
    monkeypatch.setattr(certified_softmax, "_solve_stragglers", lambda *_: None)


def changes(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "leave_one_out.csv").set_index("train_index")


def test_certificates_follow_from_the_norms_that_were_reached(tmp_path: Path, few_passes: None) -> None:
    overrides = (*FAST, f"output_dir={tmp_path}/missed")
    for command in ("train", "influence"):
        succeed(command, *(["--method", "cg"] if command == "influence" else []), *overrides)
    result = repro("retrain", *overrides, "retrain.tolerance=1e-12")
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert re.search(r"\d+ models did not reach retrain.tolerance=1e-12", said)
    assert "from these norms, not from the tolerance" in said
    found = re.search(r"gradient norms of up to (\S+) are left", said)
    accepted = re.search(r"retrain.tolerance=(\S+) accepts them", said)
    assert found is not None
    assert accepted is not None
    assert 1e-12 < float(found[1]) <= 1.05 * float(accepted[1]) <= 11 * float(found[1])
    # As the message says: plot shows the certificates, and the tolerance named accepts the models.
    succeed("plot", *overrides)
    assert "0 solved now" in succeed("retrain", *overrides, f"retrain.tolerance={accepted[1]}")


def test_they_hold_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_passes: None) -> None:
    missed, solved = (f"output_dir={tmp_path}/{name}" for name in ("missed", "solved"))
    repro("run", "--method", "cg", *FAST, missed, "retrain.tolerance=1e-12")
    succeed("plot", *FAST, missed)
    monkeypatch.undo()
    succeed("run", "--method", "cg", *FAST, solved, "retrain.tolerance=1e-12")
    rough, truth = changes(tmp_path / "missed"), changes(tmp_path / "solved")
    truth = truth.loc[rough.index]
    off = (rough["actual_change"] - truth["actual_change"]).abs()
    assert off.max() > 10 * truth["certificate"].max()
    assert (off <= rough["certificate"] + truth["certificate"]).all()
