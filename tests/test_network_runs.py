"""Runs of networks: killed and resumed, by several processes, beside another model's, and refused."""

import re
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest

from repro.configuration.beside import runs_beside
from repro.configuration.compose import compose
from tests.command_line import repro, spawn, succeed
from tests.test_interruptions import PATIENCE, wait_for_weights, weight_files

NETWORK = (
    "data=digits", "data.num_train=100", "model=network", "model.hidden=2", "model.l2=0.3", "top_k=12",
    "retrain.batch_size=4", "plot.formats=[png]",
)  # fmt: skip


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network's run folder that is ready to be retrained."""
    folder = tmp_path_factory.mktemp("network") / "run"
    succeed("train", *NETWORK, f"output_dir={folder}")
    succeed("influence", "--method", "exact", folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(predicted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, retrained by one process that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(predicted, folder)
    succeed("retrain", folder)
    succeed("plot", folder)
    return folder


def test_a_killed_retraining_of_a_network_ends_as_an_undisturbed_one(
    predicted: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(predicted, folder)
    process = spawn("retrain", str(folder))
    wait_for_weights(process, folder)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    before = weight_files(folder)
    assert 0 < len(before) < len(weight_files(undisturbed)), "killed too early or too late to test anything"
    succeed("retrain", folder)
    assert before.items() <= weight_files(folder).items()
    succeed("plot", folder)
    name = "leave_one_out.csv"
    assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.slow
def test_two_processes_retrain_a_network_to_the_same_changes(
    predicted: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(predicted, folder)
    process = spawn("retrain", "--gpus", "2", str(folder))
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out.count("13 solved now") == 1
    succeed("plot", folder)
    found, expected = (pd.read_csv(path / "leave_one_out.csv") for path in (folder, undisturbed))
    assert found["train_index"].tolist() == expected["train_index"].tolist()
    assert found["truth"].tolist() == expected["truth"].tolist()
    difference = (found["actual_change"] - expected["actual_change"]).abs()
    assert (difference <= found["certificate"] + expected["certificate"]).all(), difference.max()
    assert found["certificate"].max() < 1e-4 * found["actual_change"].abs().max()


OWN_MODEL = """
import torch
from torch import nn
from erm.autograd import AutogradRisk
from erm.dataset import Dataset

LAYERS = {
    "relu": lambda: nn.ReLU(),
    "norm": lambda: nn.BatchNorm1d(4),
    "dropout": lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.5)),
}


def own(dataset: Dataset, *, layer: str, l2: float, dtype: torch.dtype, device: torch.device):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(dataset.x_train.shape[1], 4), LAYERS[layer](), nn.Linear(4, 10))
    x, y = torch.tensor(dataset.x_train, dtype=dtype), torch.tensor(dataset.y_train)
    return AutogradRisk(module=module, x=x, y=y, l2=l2)
"""


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose user has a model of their own, with a layer to choose."""
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "layered.py").write_text(OWN_MODEL, encoding="utf-8")
    setting = "_target_: layered.own\nlayer: relu\nl2: 0.1\n"
    (tmp_path / "own" / "model" / "own.yaml").write_text(setting, encoding="utf-8")
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=own",), "uses ReLU, which is not twice differentiable, .* Take a smooth one"),
        (("model=own", "model.layer=norm"), "BatchNorm1d: its buffer .* changes in training.* nn.LayerNorm"),
        (("model=network", "model.hidden=200"), "15,010 parameters is too large .* Use a model with fewer"),
        (
            ("model=network", "model.activation=relu"),
            "activation=relu: expected .tanh., .softplus. or .gelu",
        ),
    ],
)
def test_what_cannot_be_differentiated_or_factored_is_refused_before_work(
    own_model: Path, words: tuple[str, ...], said: str
) -> None:
    result = repro("run", "--method", "cg", "data=digits", "data.num_train=60", *words)
    assert result.exit_code in (1, 2)
    assert re.search(said, " ".join(result.output.split())), result.output
    assert "started" not in result.output
    assert not (own_model / "outputs").exists()


def test_dropout_that_is_left_on_is_warned_of_before_work(own_model: Path) -> None:
    result = repro("train", "data=digits", "data.num_train=60", "model=own", "model.layer=dropout", "fit=sgd")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    warned = said.index("Dropout(p=0.5) is off here: the risk is that of the module in evaluation mode")
    assert warned < said.index("training: started")


BESIDE = "model=network fit=local model.hidden=2 model.l2=0.3 influence=cg plot.titles={cg:Network}"
FIGURE2 = (
    "run", "experiment=figure2", "data=digits", "data.num_train=100", "top_k=4", "plot.limits=null",
    f"plot.beside=['{BESIDE}']", "plot.formats=[svg]",
)  # fmt: skip


@pytest.mark.figures
def test_figure2_draws_three_panels_from_two_run_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both models at the first test point that the linear one gets wrong; the tables stay apart."""
    monkeypatch.chdir(tmp_path)
    succeed(*FIGURE2, "test_index=misclassified")
    (linear,) = (tmp_path / "outputs").glob("digits-logistic-*")
    (network,) = (tmp_path / "outputs").glob("digits-network-*")
    tables = [pd.read_csv(folder / "leave_one_out.csv") for folder in (linear, network)]
    assert [sorted(set(table["method"])) for table in tables] == [["exact", "lissa"], ["cg"]]
    assert set(tables[0]["test_index"]) == set(tables[1]["test_index"])
    figure = (linear / "plots" / "leave_one_out.svg").read_text(encoding="utf-8")
    places = [figure.index(f">{title}<") for title in ("Linear (exact)", "Linear (approx)", "Network")]
    assert places == sorted(places)
    assert ">Linear" not in (network / "plots" / "leave_one_out.svg").read_text(encoding="utf-8")
    # The folder says what stands beside, so plotting it again draws the same.
    succeed("plot", linear)
    assert (linear / "plots" / "leave_one_out.svg").read_text(encoding="utf-8") == figure
    named = repro("plot", linear, f"plot.beside=[{network}]")
    assert named.exit_code == 0, named.output
    assert ">Network<" in (linear / "plots" / "leave_one_out.svg").read_text(encoding="utf-8")


def test_the_network_of_figure2_lies_beside_the_folder_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = succeed(*FIGURE2, "test_index=3", "output_dir=mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine-network"]
    *_, last = said.splitlines()
    assert last == "the figure also has the panels of mine-network; their table and figures are there"
    assert (tmp_path / "mine-network" / "leave_one_out.csv").is_file()
    # The folder stands for both, from elsewhere too.
    monkeypatch.chdir("/")
    assert f"panels of {tmp_path}/mine-network;" in succeed("plot", tmp_path / "mine")
    # Stage by stage, and not plotted yet.
    (tmp_path / "mine-network" / "leave_one_out.csv").unlink()
    assert succeed("plot", tmp_path / "mine").splitlines()[-1].endswith(f"panels of {tmp_path}/mine-network")


def test_runs_beside_that_differ_in_values_alone_have_folders_of_their_own() -> None:
    words = ["model.l2=0.1", "model=network", "model=network model.hidden=3", "fit=sgd"]
    named = [f"plot.beside={words}", "data=digits", "output_dir=mine"]
    found = [other["output_dir"] for other in runs_beside(compose(named))]
    assert found == ["mine-beside", "mine-network", "mine-network-2", "mine-sgd"]
    assert {other["output_dir"] for other in runs_beside(compose(named[:2]))} == {None}


def test_runs_beside_of_one_minimiser_share_a_folder() -> None:
    words = ["model=network influence=exact", "model=network influence=cg", "model=network model.hidden=3"]
    found = runs_beside(compose([f"plot.beside={words}", "data=digits", "output_dir=mine"]))
    assert [other["output_dir"] for other in found] == ["mine-network", "mine-network", "mine-network-2"]


@pytest.mark.figures
def test_methods_of_one_minimiser_beside_are_a_panel_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ("data=digits", "data.num_train=60", "test_index=3", "top_k=6", "plot.formats=[svg]")
    cg = "model.l2=0.1 influence=cg plot.titles={cg:CG}"
    words = ["model.l2=0.1 influence=exact plot.titles={exact:Exact}", cg, f"{cg} retrain.damping=0.02"]
    said = succeed("run", "--method", "exact", *small, f"plot.beside={words}", "output_dir=mine")
    assert said.count("the figure also has the panels of") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine-beside"]
    figure = (tmp_path / "mine" / "plots" / "leave_one_out.svg").read_text(encoding="utf-8")
    # By the last of them the question is another, so that its two panels are others.
    assert [figure.count(f">{title}<") for title in ("Exact", "CG")] == [1, 2]


@pytest.mark.parametrize(("typed", "of"), [(".", "mine"), ("..", ""), ("../mine/", "mine")])
def test_a_folder_beside_is_beside_what_the_typed_path_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, of: str
) -> None:
    (tmp_path / "here" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "mine")
    (other,) = runs_beside(compose(["plot.beside=['model=network']", "data=digits", f"output_dir={typed}"]))
    beside = tmp_path / (f"here/{of}-network" if of else "here-network")
    assert Path(other["output_dir"]).resolve() == beside


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ("model=nettwork", "no such model.*network"),
        ("model.l2=0.01", "names this very run"),
        ("model=network output_dir=other", "another run's folder is not chosen here"),
        ("model=network model.hidden=0", "model.hidden=0"),
    ],
)
def test_what_cannot_stand_beside_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = repro("run", "data=digits", "data.num_train=60", f"plot.beside=['{beside}']")
    assert result.exit_code == 2, result.output
    words = " ".join(result.output.split())
    assert "plot.beside" in words
    assert re.search(said, words), result.output
    assert not list(tmp_path.glob("outputs/*/model.safetensors"))
    result = repro("run", "data=digits", "data.num_train=60", f"plot.beside=['{beside}']", "output_dir=mine")
    assert result.exit_code == 2, result.output
    assert re.search(said, " ".join(result.output.split())), result.output
