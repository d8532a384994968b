"""A fit of one's own that is no fit is a usage error: what was returned, by what, and what is expected."""

import sys
from pathlib import Path

import pytest

from tests.command_line import FAST, repro, succeed

FITS = """
import torch
from erm.fit import Fit, NewtonFit

class Good:
    def __call__(self, risk, progress=None):
        return NewtonFit()(risk, progress=progress)

def no_minimiser():
    return 7

class NoFit:
    def __call__(self, risk, progress=None):
        return risk.initial_parameters()

class NoProgress:
    def __call__(self, risk):
        return NewtonFit()(risk)

class Short:
    def __call__(self, risk, progress=None):
        return Fit(theta=torch.zeros(3), value=0.0, gradient_norm=0.0, converged=True, passes=1)
"""
CASES = {
    "no_minimiser": ("returned a int", "cannot be called", "(risk, progress=…)", "erm.fit.Fit"),
    "NoFit": ("returned a Tensor", "erm.fit.Fit"),
    "NoProgress": ("returned a NoProgress", "progress", "(risk, progress=…)"),
    "Short": ("shape (3,) in torch.float32", "(640,) in torch.float64"),
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fit").mkdir()
    (tmp_path / "fits_of_mine.py").write_text(FITS)
    for name in ("Good", *CASES):
        (tmp_path / "fit" / f"{name}.yaml").write_text(f"_target_: fits_of_mine.{name}\n")
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("fits_of_mine", None)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("command", ["train", "diagnose"])
def test_what_is_no_fit_is_a_usage_error(own: Path, case: str, command: str) -> None:
    result = repro(command, *FAST, f"fit={case}", f"output_dir={own}/run")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for words in (f"fit._target_=fits_of_mine.{case}", *CASES[case]):
        assert words in result.stderr
    assert not (own / "run" / "model.safetensors").exists()


def test_a_fit_of_ones_own_trains(own: Path) -> None:
    assert "gradient norm" in succeed("train", *FAST, "fit=Good", f"output_dir={own}/run")
