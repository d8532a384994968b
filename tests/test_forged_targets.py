"""No command calls what a stranger's run folder names: only what this tool ships, or what the user trusts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from typer.testing import Result

from repro.configuration.files import shipped_targets
from repro.folder.paths import RunFolder
from repro.sweep.job import SweepRun, read_job
from tests.command_line import PROJECT, repro, succeed
from tests.forged import SETTINGS, forge_config, forge_facts, forge_json, tree, write_config, write_pickle

GROUPS = (
    "data",
    "model",
    "fit",
    "influence",
    "removals",
    "retrain",
    "plot",
    "compare",
    "experiment",
    "hydra",
    "other",
)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunFolder:
    """A copy to forge."""
    return RunFolder(Path(shutil.copytree(finished_run, tmp_path / "run")))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that is there only if something was called."""
    return tmp_path / "canary"


def callables(run: RunFolder, canary: Path) -> dict[str, dict[str, Any]]:
    """What Hydra's own block list lets through, or did, with arguments that create the canary."""
    pickled = str(write_pickle(run.path / "x.pkl", canary))
    statement = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    script = run.path / "evil.py"
    script.write_text(statement, encoding="utf-8")
    return {
        "pandas.read_pickle": {"filepath_or_buffer": pickled},
        "joblib.load": {"filename": pickled},
        "torch.load": {"f": pickled, "weights_only": False},
        "numpy.load": {"file": pickled, "allow_pickle": True},
        "builtins.eval": {"_args_": [statement]},
        "builtins.exec": {"_args_": [statement]},
        "builtins.open": {"file": str(canary), "mode": "w"},
        "io.open": {"file": str(canary), "mode": "w"},
        "subprocess.run": {"args": ["touch", str(canary)]},
        "subprocess.Popen": {"args": ["touch", str(canary)]},
        "subprocess.getoutput": {"cmd": f"touch {canary}"},
        "importlib.import_module": {"name": "evil"},
        "importlib.machinery.SourceFileLoader.load_module": {"_args_": [{"_target_": "builtins.object"}]},
        "pathlib.Path.write_text": {
            "_args_": [{"_target_": "pathlib.Path", "_args_": [str(canary)]}, "written"]
        },
        "pathlib.Path.touch": {"_args_": [{"_target_": "pathlib.Path", "_args_": [str(canary)]}]},
        "pathlib.Path.unlink": {"_args_": [{"_target_": "pathlib.Path", "_args_": [pickled]}]},
        "shutil.rmtree": {"path": str(run.weights)},
        "shutil.copy": {"src": pickled, "dst": str(canary)},
        "code.interact": {"banner": "canary"},
        "pydoc.browse": {"port": 0},
        "pydoc.pipepager": {"text": "x", "cmd": f"touch {canary}"},
        "timeit.timeit": {"stmt": statement, "number": 1},
        "cProfile.run": {"statement": statement},
        "runpy.run_path": {"path_name": str(script)},
        "webbrowser.open": {"url": "file:///"},
        "os.system": {"command": f"touch {canary}"},
        "functools.partial": {"_args_": [{"_target_": "pathlib.Path.touch"}]},
        "hydra.utils.instantiate": {"config": {"_target_": "pandas.read_pickle", "x": pickled}},
        "hydra.utils.get_method": {"path": "evil.main"},
        # Ours, and none of those that the schema knows.
        "erm.files.write_text": {"path": str(canary), "text": "x"},
        "repro.stages.check.check": {"path": str(run.path)},
        "erm.data.npz.np.load": {"file": pickled, "allow_pickle": True},
        "influence.cg.torch.load": {"f": pickled, "weights_only": False},
        "erm.models.logistic.__globals__": {},
    }


def refused(result: Result, file: Path, *words: str) -> bool:
    """Whether a command refused with exit code 2 and a message with file, words and what to type."""
    assert "Traceback" not in result.output
    said = result.stderr.replace("\n", " ")
    return result.exit_code == 2 and all(word in said for word in (str(file), *words))


def test_what_may_be_named_is_what_the_package_s_files_name() -> None:
    named = {
        str(node["_target_"])
        for path in (PROJECT / "configs").rglob("*.yaml")
        for node in _mappings(OmegaConf.to_container(OmegaConf.load(path)))
        if "_target_" in node
    }
    assert named == shipped_targets()


def _mappings(node: Any) -> list[dict[Any, Any]]:
    if isinstance(node, list):
        return [found for entry in node for found in _mappings(entry)]
    return (
        [node, *(found for entry in node.values() for found in _mappings(entry))]
        if isinstance(node, dict)
        else []
    )


EVERY = 4
"""Of so many callables one is tried in each group, the next in the next group: each in two or three."""


@pytest.mark.parametrize(
    ("group", "some"),
    [
        *((group, slice(place % EVERY, None, EVERY)) for place, group in enumerate(GROUPS)),
        *(pytest.param(group, slice(None), marks=pytest.mark.slow) for group in GROUPS),
    ],
)
def test_check_calls_nothing_of_a_stranger(
    run: RunFolder, canary: Path, group: str, some: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(run.path)
    for name in ("code.interact", "pydoc.browse", "webbrowser.open"):
        monkeypatch.setattr(name, lambda *_, **__: canary.touch())
    sound = run.config.read_text(encoding="utf-8")
    for target, arguments in list(callables(run, canary).items())[some]:
        write_config(run, sound)
        forge_config(run, **{group: {"_target_": target, **arguments}})
        before = tree(run.path)
        result = repro("check", run.path)
        assert refused(result, run.config, f"{group}._target_", target, "--trust-code"), result.output
        assert not canary.exists(), target
        assert tree(run.path) == before, target


OUTPUT = {
    "train": (),
    "influence": ("--method", "cg"),
    "retrain": (),
    "plot": (),
    "run": ("--method", "cg"),
    "report": (),
    "diagnose": (),
    "compare": ("compare.settings=[exact]",),
    "ground-truth": ("--out", "truth.csv"),
}


READ_IT = {"influence": ("influence", "diagnose"), "compare": ("compare", "plot")}
"""For groups that few commands build anything of: one of these, and one other."""


@pytest.mark.parametrize(
    ("command", "group"),
    [
        *((command, "data") for command in OUTPUT),
        *(
            pytest.param(command, group, marks=[] if command in READ_IT[group] else pytest.mark.slow)
            for group in READ_IT
            for command in OUTPUT
        ),
    ],
)
def test_every_command_that_opens_a_folder_refuses(
    run: RunFolder, canary: Path, command: str, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.path.parent)
    target = "pandas.read_pickle"
    pickled = write_pickle(run.path / "x.pkl", canary)
    forge_config(run, **{group: {"_target_": target, "filepath_or_buffer": str(pickled)}})
    before = tree(run.path)
    result = repro(command, *OUTPUT[command], *SETTINGS, f"output_dir={run.path}")
    assert refused(result, run.config, f"{group}._target_", target, "--trust-code pandas"), result.output
    assert not canary.exists()
    assert tree(run.path) == before


FORMS = {
    "nested": "data: {_target_: erm.data.digits.load_digits, num_train: {a: {_target_: EVIL}}}",
    "in a list": "data: {_target_: erm.data.digits.load_digits, num_train: [1, [{_target_: EVIL}]]}",
    "in positional arguments": "data: {_target_: erm.data.digits.load_digits, _args_: [{_target_: EVIL}]}",
    "partial": "data: {_target_: EVIL, _partial_: true}",
    "not recursive": "data: {_target_: EVIL, _recursive_: false, _convert_: none}",
    "at the top": "_target_: EVIL",
    "in the title of a method": "plot: {titles: {cg: {_target_: EVIL}}}",
    "under a number": "data: {1: {_target_: EVIL}}",
    "quoted key": 'data: {"_target_": EVIL}',
    "escaped key": 'data: {"\\x5ftarget_": EVIL}',
    "folded": "data:\n  _target_: >-\n    EVIL\n",
    "explicit key": "data:\n  ? _target_\n  : EVIL\n",
    "JSON": '{"data": {"_target_": "EVIL"}}',
    "defaults": "defaults: [{_target_: EVIL}]",
    "package directive": "# @package data\n_target_: EVIL",
    "hydra": "hydra: {searchpath: ['file:///'], callbacks: {x: {_target_: EVIL}}}",
    "a list": "data: {_target_: [EVIL]}",
    "a mapping": "data: {_target_: {_target_: EVIL}}",
    "a number": "data: {_target_: 7}",
    "nothing": "data: {_target_: null}",
    "with a space": "data: {_target_: ' erm.data.digits.load_digits'}",
    "with a dot": "data: {_target_: erm.data.digits.load_digits.}",
    "beneath one of ours": "data: {_target_: erm.data.digits.load_digits.__globals__}",
    "a prefix of ours": "data: {_target_: erm.data.digits.load_digits_of}",
    "in another case": "data: {_target_: erm.data.digits.LOAD_DIGITS}",
    "wide letters": "data: {_target_: ｅrm.data.digits.load_digits}",
    "interpolated": "data: {_target_: '${oc.env:EVIL_TARGET}'}",
    "decoded": "data: {_target_: '${oc.decode:EVIL}'}",
    "from elsewhere": "other: EVIL\ndata: {_target_: '${other}'}",
    "escaped interpolation": "data: {_target_: '\\${other}'}",
    "created": "data: \"${oc.create:'{_target_: EVIL}'}\"",
}
"""Ways to write a target; EVIL is one that would create the canary."""


@pytest.mark.parametrize(
    ("command", "form"),
    [*(("check", form) for form in FORMS), *(("plot", form) for form in FORMS if form.startswith("a ")),
     ("plot", "nested"), ("plot", "created"), ("plot", "interpolated")],
)  # fmt: skip
def test_a_target_is_seen_however_it_is_written(
    run: RunFolder, canary: Path, form: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL_TARGET", "pandas.read_pickle")
    text = FORMS[form].replace("EVIL", "pandas.read_pickle")
    sound = OmegaConf.to_container(OmegaConf.load(run.config))
    forged = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(sound, dict)
    assert isinstance(forged, dict)
    rest = OmegaConf.to_yaml(OmegaConf.create({name: sound[name] for name in sound.keys() - forged.keys()}))
    if not text.startswith("{"):
        write_config(run, f"{text}\n{rest}")
    else:
        write_config(run, OmegaConf.to_yaml(OmegaConf.create(sound | forged)))
    result = repro(*{**ALONE, "check": ["check"]}[command], *_where(run, command))
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    assert not canary.exists()
    if form != "created":
        assert f"{run.config} names code that is not this tool's" in result.stderr


ALONE = {"plot": ["plot", *SETTINGS]}


def _where(run: RunFolder, command: str) -> list[str]:
    return [str(run.path)] if command == "check" else [f"output_dir={run.path}"]


NOT_YAML = {
    "object": "data: !!python/object/apply:os.system ['touch CANARY']",
    "name": "data: {_target_: !!python/name:os.system ''}",
    "module": "data: !!python/module:os ''",
    "path": "data: {_target_: !!python/object/apply:pathlib.Path [x]}",
    "own tag": "data: !evil {x: 1}",
    "string tag": "data: {_target_: !!str pandas.read_pickle}",
    "anchor": "a: &x {_target_: pandas.read_pickle}\ndata: *x",
    "merge": "a: &x {_target_: pandas.read_pickle}\ndata: {<<: *x}",
    "billion laughs": "a: &a [x,x]\n" + "\n".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)
    ),
    "deep": "data: " + "[" * 5000 + "]" * 5000,
    "twice": "data: {_target_: erm.data.digits.load_digits, _target_: pandas.read_pickle}",
    "two documents": "data: 1\n---\ndata: {_target_: pandas.read_pickle}",
    "large": "data: " + "x" * 2_000_000,
    "no mapping": "- 1",
    "bytes": "data: \x00",
    "empty": "",
    "a scalar": "data",
    "broken interpolation": "data: ${",
}  # fmt: skip


@pytest.mark.parametrize("form", NOT_YAML)
def test_what_this_tool_never_writes_is_not_read(run: RunFolder, canary: Path, form: str) -> None:
    text = NOT_YAML[form].replace("CANARY", str(canary))
    run.config.write_bytes(text.encode())
    write_config(run, text)
    for command in ("check", "plot"):
        result = repro(*{**ALONE, "check": ["check"]}[command], *_where(run, command))
        assert result.exit_code == 1, result.output
        assert isinstance(result.exception, SystemExit), result.exception
        read = "holds a run of another configuration" in result.stderr and command == "plot"
        assert read or f"{run.config} cannot be read" in result.stderr
    assert not canary.exists()


@pytest.mark.parametrize("command", ["check", "plot", "report", "run"])
def test_a_record_s_target_is_not_printed_to_be_copied(run: RunFolder, command: str) -> None:
    """The page prints the settings of a record as overrides, `_target_` among them."""
    forge_json(
        run, run.influence_record("cg"), lambda record: record["settings"].update(_target_="os.system")
    )
    words = [command, *SETTINGS] if command in ("plot", "report", "run") else [command]
    result = repro(*words, *_where(run, command))
    assert refused(result, run.influence_record("cg"), "settings._target_=os.system"), result.output
    assert not run.report.exists()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "digits_of_mine.py").write_text(
        "import os\n"
        "from pandas import read_pickle\n"
        "import erm.files\n"
        "from erm.data.digits import load_digits\n"
        "def load(*, num_train, more=None):\n"
        "    return load_digits(num_train=num_train)\n"
        "class Loader:\n"
        "    @classmethod\n"
        "    def load(cls, *, num_train):\n"
        "        return load(num_train=num_train)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "digits_of_mine", raising=False)
    return folder


def name_data(run: RunFolder, target: str, **more: Any) -> None:
    """Another target of the data, in config.yaml and in the facts of θ̂."""
    data = {"_target_": target, "num_train": 300, **more}
    forge_config(run, data=data)
    named = {f"data.{key}": value for key, value in data.items()}
    forge_facts(run, lambda facts: facts["configuration"].update(named))


def test_code_of_one_s_own_is_named_by_the_folder_or_trusted(
    run: RunFolder, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for target in ("digits_of_mine.load", "digits_of_mine.Loader.load"):
        name_data(run, target)
        result = repro("check", run.path)
        assert refused(result, run.config, "--trust-code digits_of_mine;", "REPRO_CONFIG_DIR=FOLDER")
        with monkeypatch.context() as patch:
            patch.chdir(own.parent)
            patch.setenv("REPRO_CONFIG_DIR", own.name)
            # Wherever else it is given, that is a folder of somebody else.
            assert refused(repro("check", run.path), run.config, "whole path")
        with monkeypatch.context() as patch:
            patch.setenv("REPRO_CONFIG_DIR", str(own))
            assert "follows from the data" in succeed("check", run.path)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(own)
            # What the refusal says to type.
            assert "follows from the data" in succeed("check", run.path, "--trust-code", "digits_of_mine")
            assert repro("check", run.path).exit_code == 2
            assert repro("check", run.path, "--trust-code", "digits").exit_code == 2
            assert repro("check", run.path, "--trust-code", "digits_of_mine.load").exit_code == 2


def test_what_is_typed_is_the_user_s(run: RunFolder, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(own)
    name_data(run, "digits_of_mine.load")
    typed = [*SETTINGS, "data._target_=digits_of_mine.load"]
    assert "wrote" in succeed("plot", *typed, f"output_dir={run.path}")
    result = repro("plot", *SETTINGS, f"output_dir={run.path}")
    assert refused(result, run.config, "--trust-code digits_of_mine")
    result = repro("plot", *SETTINGS, f"output_dir={run.path}", "--trust-code", "digits_of_mine")
    assert result.exit_code == 1
    assert "another configuration" in result.stderr


DISGUISES: dict[str, dict[str, Any]] = {
    "os.system": {},
    "read_pickle": {"filepath_or_buffer": "x.pkl"},
    "os.path.exists": {"path": "x"},
    "erm.files.write_text": {"path": "x", "text": "y"},
    "load.__class__": {},
    "load.__call__": {},
    "load.__globals__": {},
    "Loader.__subclasses__": {},
    "Loader.load.__func__.__globals__.get": {"_args_": ["os"]},
    "__loader__.get_data": {"_args_": ["/etc/passwd"]},
    "__builtins__": {},
    "no_such_name": {},
}
QUICK = ("os.system", "load.__globals__")
"""A module's own name, and one that leads on: both by each way to trust it."""


@pytest.mark.parametrize(
    ("trust", "name"),
    [
        *(("--trust-code", name) for name in DISGUISES),
        *(
            pytest.param("REPRO_CONFIG_DIR", name, marks=[] if name in QUICK else pytest.mark.slow)
            for name in DISGUISES
        ),
    ],
)
def test_trusted_code_is_no_way_to_other_code(
    run: RunFolder, canary: Path, own: Path, name: str, trust: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pickle(run.path / "x.pkl", canary)
    monkeypatch.chdir(run.path)
    target = f"digits_of_mine.{name}"
    forge_config(run, data={"_target_": target, **DISGUISES[name]})
    words = []
    if trust == "REPRO_CONFIG_DIR":
        monkeypatch.setenv(trust, str(own))
    else:
        monkeypatch.syspath_prepend(own)
        words = [trust, "digits_of_mine"]
    result = repro("check", run.path, *words)
    assert result.exit_code == 2, result.output
    assert target in result.stderr
    assert "config.yaml" in result.stderr
    assert not canary.exists()


def test_trusted_code_is_not_handed_what_other_code_makes(
    run: RunFolder, canary: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(own))
    pickled = str(write_pickle(run.path / "x.pkl", canary))
    name_data(
        run, "digits_of_mine.load", more=[{"_target_": "pandas.read_pickle", "filepath_or_buffer": pickled}]
    )
    assert refused(repro("check", run.path), run.config, "data.more[0]._target_=pandas.read_pickle")
    name_data(run, "digits_of_mine.load", more="${oc.env:HOME}")
    assert refused(repro("check", run.path), run.config, "data.more", "${…}")
    assert not canary.exists()


def test_a_folder_of_one_s_own_lends_its_name_to_no_installed_module(
    run: RunFolder, canary: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own / "pandas.py").write_text("def read_pickle(**_): ...\n", encoding="utf-8")
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(own))
    forge_config(run, data={"_target_": "pandas.read_pickle", "filepath_or_buffer": "x"})
    assert refused(repro("check", run.path), run.config, "pandas.read_pickle")


@pytest.mark.parametrize("module", ["", "a b", "a;b", "../a", "a.", ".a", "a/b", "1a", "-x"])
def test_only_a_module_can_be_trusted(run: RunFolder, module: str) -> None:
    result = repro("check", run.path, f"--trust-code={module}")
    assert result.exit_code == 2
    assert "dotted name of a module" in result.stderr


def test_trust_ends_with_the_command(run: RunFolder, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_TRUST_CODE", "one")
    assert repro("check", run.path, "--trust-code", "two").exit_code == 0
    assert os.environ["REPRO_TRUST_CODE"] == "one"
    monkeypatch.delenv("REPRO_TRUST_CODE")
    assert repro("check", run.path, "--trust-code", "two").exit_code == 0
    assert "REPRO_TRUST_CODE" not in os.environ


def test_runs_of_a_sweep_are_opened_with_the_same_care(
    run: RunFolder, canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, where each run is a command like any other."""
    pickled = write_pickle(run.path / "x.pkl", canary)
    forge_config(run, compare={"_target_": "pandas.read_pickle", "filepath_or_buffer": str(pickled)})
    out = tmp_path / "sweep"
    shutil.copytree(run.path, out / "run-0")
    said: list[str] = []

    def here(words: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        result = repro(*words[1:])
        said.append(result.stderr)
        return subprocess.CompletedProcess(words, result.exit_code)

    monkeypatch.setattr(subprocess, "run", here)
    settings = [text for text in SETTINGS if text != "influence=cg"]
    result = repro("sweep", "--method", "cg", *settings, "plot.limits=0.1,0.2", "--out", out)
    assert result.exit_code == 1
    assert "compare._target_=pandas.read_pickle" in said[0]
    assert not canary.exists()


@pytest.mark.parametrize(
    "change",
    [{"folder": "../x"}, {"folder": "/"}, {"exit_code": "0"}, {"overrides": "a"}, {"overrides": [3]}],
    ids=repr,
)
def test_a_job_s_record_leads_to_its_own_run(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "0.json"
    sound = {"overrides": ["a=1"], "folder": "run-0", "exit_code": 0}
    path.write_text(json.dumps(sound), encoding="utf-8")
    assert read_job(path) == SweepRun.model_validate(sound)
    path.write_text(json.dumps(sound | change), encoding="utf-8")
    assert read_job(path) is None


def test_a_folder_that_one_stands_in_is_not_imported_from(run: RunFolder, canary: Path) -> None:
    """`cd theirs; repro check .`, as it is installed."""
    for name in ("cli", "configs", "numpy", "torch", "hydra_plugins", "erm"):
        (run.path / name).mkdir()
        (run.path / name / "__init__.py").write_text(f"open({str(canary)!r}, 'w')\n", encoding="utf-8")
    for name in ("sitecustomize.py", "usercustomize.py", "json.py"):
        (run.path / name).write_text(f"open({str(canary)!r}, 'w')\n", encoding="utf-8")
    start = "import sys; from cli.main import main; sys.argv = ['repro', 'check', '.']; main()"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", start],
        cwd=run.path,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "follows from the data" in ended.stdout, ended.stderr
    assert not canary.exists()
