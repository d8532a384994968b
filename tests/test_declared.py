"""A setting is declared once; what reads the declaration without importing it reads what an import would."""

import importlib
import inspect
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from erm.settings import REQUIRED, is_setting
from repro.configuration.compose import compose
from repro.configuration.declared import declared
from repro.configuration.files import CONFIG_FOLDER, TARGET, shipped_targets
from repro.configuration.schema import RETRAIN
from repro.errors import UsageError
from tests.command_line import PROJECT, repro


@pytest.mark.parametrize("target", [*sorted(shipped_targets()), RETRAIN])
def test_what_is_read_from_the_source_is_what_an_import_gives(target: str) -> None:
    module, _, name = target.rpartition(".")
    code: Any = getattr(importlib.import_module(module), name)
    hints = typing.get_type_hints(code, include_extras=True)
    defaults = {
        key: REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        for key, parameter in inspect.signature(code).parameters.items()
    }
    found = declared(target)
    assert list(found) == [key for key in defaults if is_setting(hints[key])]
    for key, setting in found.items():
        # Types that pydantic makes have no equality of their own but that of what they say.
        assert repr(setting.annotation) == repr(hints[key])
        assert setting.default == defaults[key]


def test_every_default_of_a_file_is_that_of_its_class() -> None:
    compared = 0
    for path in sorted(CONFIG_FOLDER.glob("*/*.yaml")):
        if not (named := TARGET.findall(path.read_text(encoding="utf-8"))):
            continue
        node: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        values = node.get(path.parent.name, node)
        settings = declared(named[0])
        assert set(settings) == set(values) - {"_target_"}
        for key, setting in settings.items():
            if setting.default is not REQUIRED:
                assert values[key] == setting.default, f"{path}: {key}"
                compared += 1
    assert compared > 25
    retrain: Any = OmegaConf.load(CONFIG_FOLDER / "retrain" / "default.yaml")
    assert all(retrain[key] == setting.default for key, setting in declared(RETRAIN).items())


def test_a_configuration_is_checked_without_torch() -> None:
    code = (
        "import sys; from repro.configuration.compose import compose; "
        "[compose([f'influence={name}']) for name in ('cg', 'lissa')]; compose(['retrain.tolerance=1e-8']); "
        "print([name for name in ('torch', 'numpy', 'sklearn') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    assert ended.stdout == "[]\n"


OWN = """
from dataclasses import dataclass
from typing import Annotated, Literal

import a_package_that_is_not_there
from pydantic import Field

from erm.settings import Count
from limits_of_mine import LARGEST

Kind = Literal["a", "b"]


@dataclass(frozen=True, kw_only=True)
class Mine:
    share: Annotated[float, Field(gt=0, lt=LARGEST, description="of the whole")] = 0.5
    count: Annotated[Count, Field(description="how many")] = 1
    kind: Annotated[Kind, Field(description="which")] = "a"
    other: int = 3
    odd: Annotated[a_package_that_is_not_there.Odd, Field(description="unknown here")] = 0
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "influence").mkdir()
    (tmp_path / "settings_of_mine.py").write_text(OWN)
    (tmp_path / "limits_of_mine.py").write_text("LARGEST = 1 / 2 + 0.25\n")
    (tmp_path / "influence" / "mine.yaml").write_text(
        "_target_: settings_of_mine.Mine\nshare: 0.5\ncount: 1\nkind: a\nother: 3\nodd: 0\n"
    )
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("share=0.75", "influence.share=0.75: expected less than 0.75"),
        ("share=0", "influence.share=0: expected greater than 0"),
        ("count=0", "influence.count=0: expected greater than or equal to 1"),
        ("count=1.5", "influence.count=1.5: expected a valid integer"),
        ("kind=c", "influence.kind=c: expected 'a' or 'b'"),
    ],
)
def test_what_an_own_class_declares_is_checked_before_any_work(own: Path, override: str, said: str) -> None:
    result = repro("config", "--method", "mine", f"influence.{override}")
    assert result.exit_code == 2
    assert result.stderr == f"error: {said}\n"


def test_what_it_does_not_declare_is_left_to_it(own: Path) -> None:
    values = compose(["influence.other=x", "influence.odd=y", "influence.share=0.25"], "mine")["influence"]
    assert (values["other"], values["odd"], values["share"]) == ("x", "y", 0.25)


def test_a_changed_source_is_read_anew(own: Path) -> None:
    with pytest.raises(UsageError):
        compose(["influence.count=0"], "mine")
    (own / "settings_of_mine.py").write_text(OWN.replace("Annotated[Count, ", "Annotated[int, ") + "\n")
    assert compose(["influence.count=0"], "mine")["influence"]["count"] == 0


def test_nothing_of_the_source_is_run(own: Path) -> None:
    source = own / "settings_of_mine.py"
    source.write_text("raise SystemExit('run')\n" + OWN.replace("lt=LARGEST", "lt=open('x', 'w')"))
    # What cannot be known without running it is left to the class.
    assert compose(["influence.share=7.5"], "mine")["influence"]["share"] == 7.5
    assert not Path("x").exists()


def test_a_target_that_is_nowhere_declares_nothing() -> None:
    for target in ("nowhere.at.all", "math.sqrt", "repro", "influence.cg.Nosuch", "", "builtins.dict"):
        assert declared(target) == {}
