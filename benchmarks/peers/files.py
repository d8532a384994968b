"""Files of scores as the other packages write them: `python -m benchmarks.peers.files [FOLDER]`.

Each package explains the same small model, softmax regression on 100 digits, for three test points, and
writes its own file by its own API. tests/data/peers holds what one run wrote, and the tests read that. Beside
the peers of `benchmarks.peers` this takes traker, pytorch-influence-functions, and of bergson and quanda the
writers alone. A package that is not here, or does not run, is named and left out.
"""

import importlib.metadata
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.arguments import read_arguments
from benchmarks.peers.problem import PeerProblem
from repro.experiment import Experiment
from repro.stages.export_model import state_dict

NUM_TRAIN, L2, TARGETS = 100, 0.1, [3, 8, 14]
DEFAULT = Path("tests/data/peers")


def small_problem() -> PeerProblem:
    """Digits at θ̂, float64, three test points."""
    with tempfile.TemporaryDirectory() as folder:
        size = f"data.num_train={NUM_TRAIN}"
        run = Experiment("data=digits", size, f"model.l2={L2}", output_dir=folder)
        theta, risk, data = run.train().theta, run.session.risk, run.session.dataset
        x_test, y_test = run.session.test_examples(TARGETS)
    model = nn.Linear(data.x_train.shape[1], data.num_classes, bias=False, dtype=torch.float64)
    model.load_state_dict(state_dict(risk, theta))
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    return PeerProblem(model, L2, x, y.long(), x_test, y_test.long())


def _dattri(problem: PeerProblem, folder: Path) -> None:
    """Its attributors return a tensor, training × test points, and its scripts save that with torch."""
    from dattri.algorithm.influence_function import IFAttributorExplicit
    from dattri.task import AttributionTask

    task = AttributionTask(
        loss_func=lambda parameters, data: problem.loss(parameters, *data),
        target_func=lambda parameters, data: problem.test_loss(parameters, *data),
        model=problem.model,
        checkpoints=[problem.model.state_dict()],
    )
    attributor = IFAttributorExplicit(task)
    attributor.cache(problem.batches(NUM_TRAIN))
    with torch.no_grad():
        found = attributor.attribute(problem.batches(NUM_TRAIN), problem.test_batch())
    torch.save(found, folder / "dattri.pt")


def _kronfluence(problem: PeerProblem, folder: Path) -> None:
    """Gradient inner products, whole and in two partitions of the training points."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments

    from benchmarks.peers.with_kronfluence import Classification

    model = prepare_model(nn.Sequential(problem.model).float(), Classification())
    train = TensorDataset(problem.x.float(), problem.y)
    with tempfile.TemporaryDirectory() as temporary:
        analyzer = Analyzer(
            "digits", model, Classification(), cpu=True, output_dir=temporary, disable_tqdm=True
        )
        arguments = {"per_device_batch_size": NUM_TRAIN, "factor_args": FactorArguments(strategy="identity")}
        analyzer.fit_all_factors("factors", train, **arguments)
        analyzer.compute_pairwise_scores(
            "scores",
            factors_name="factors",
            query_dataset=TensorDataset(problem.x_test.float(), problem.y_test),
            train_dataset=train,
            per_device_query_batch_size=1,
            score_args=ScoreArguments(data_partitions=2),
        )
        for file in sorted(Path(temporary).rglob("pairwise_scores*.safetensors")):
            kind = "kronfluence-partitions" if "partition" in file.name else "kronfluence"
            (folder / kind).mkdir(exist_ok=True)
            shutil.copy(file, folder / kind / file.name)


def _pydvl(problem: PeerProblem, folder: Path) -> None:
    """An array and a zarr, test × training points."""
    from pydvl.influence import SequentialInfluenceCalculator
    from pydvl.influence.torch import DirectInfluence
    from pydvl.influence.torch.util import NestedTorchCatAggregator, TorchNumpyConverter

    fitted = DirectInfluence(problem.model, cross_entropy, regularization=problem.l2).fit(
        problem.batches(NUM_TRAIN)
    )
    lazy = SequentialInfluenceCalculator(fitted).influences(
        DataLoader(TensorDataset(problem.x_test, problem.y_test), batch_size=2), problem.batches(60)
    )
    np.save(folder / "pydvl.npy", lazy.compute(aggregator=NestedTorchCatAggregator()).numpy())
    shutil.rmtree(folder / "pydvl.zarr", ignore_errors=True)
    lazy.to_zarr(str(folder / "pydvl.zarr"), TorchNumpyConverter(), overwrite=True)


def _captum(problem: PeerProblem, folder: Path) -> None:
    """TracIn of the one checkpoint, test × training points; captum returns tensors and writes none."""
    from captum.influence import TracInCP

    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "model.pt"
        torch.save(problem.model.state_dict(), checkpoint)
        method = TracInCP(
            nn.Sequential(problem.model),
            TensorDataset(problem.x, problem.y),
            checkpoints=[str(checkpoint)],
            checkpoints_load_func=lambda model, path: 1.0,
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            batch_size=NUM_TRAIN,
            sample_wise_grads_per_batch=True,
        )
        found = method.influence((problem.x_test, problem.y_test))
    torch.save(found, folder / "captum.pt")
    _quanda(found, folder / "quanda")


def _quanda(found: torch.Tensor, folder: Path) -> None:
    """quanda caches what its wrapper of captum returns, a file per batch of test points."""
    package = importlib.util.find_spec("quanda")
    if package is None or package.origin is None:
        raise ImportError("No module named 'quanda'")
    # The package itself needs captum < 0.9; its writer needs torch alone.
    spec = importlib.util.spec_from_file_location("cache", Path(package.origin).parent / "utils" / "cache.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder.mkdir(exist_ok=True)
    for number, batch in enumerate((found[:2], found[2:])):
        module.ExplanationsCache.save(str(folder), batch, number)


def _trak(problem: PeerProblem, folder: Path) -> None:
    """TRAK of the one model, in half precision: training × test points."""
    from trak import TRAKer
    from trak.projectors import BasicProjector, ProjectionType

    model = nn.Linear(problem.x.shape[1], problem.model.out_features, bias=False)
    model.load_state_dict({"weight": problem.model.weight.float()})
    projector = BasicProjector(
        grad_dim=model.weight.numel(), proj_dim=512, seed=0, proj_type=ProjectionType.normal, device="cpu"
    )
    x, x_test = problem.x.float(), problem.x_test.float()
    with tempfile.TemporaryDirectory() as temporary:
        traker = TRAKer(
            model,
            "image_classification",
            train_set_size=NUM_TRAIN,
            save_dir=temporary,
            device="cpu",
            projector=projector,
            lambda_reg=1e-3,
        )
        traker.load_checkpoint(model.state_dict(), model_id=0)
        traker.featurize((x, problem.y), num_samples=NUM_TRAIN)
        traker.finalize_features()
        traker.start_scoring_checkpoint("digits", model.state_dict(), model_id=0, num_targets=len(TARGETS))
        traker.score((x_test, problem.y_test), num_samples=len(TARGETS))
        traker.finalize_scores("digits")
        shutil.copy(Path(temporary) / "scores" / "digits.mmap", folder / "trak.mmap")


def _bergson(problem: PeerProblem, folder: Path) -> None:
    """Its scores are of language models, so that its writer alone is used, on gradient inner products."""
    from bergson.score.score_writer import MemmapSequenceScoreWriter

    shutil.rmtree(folder / "bergson", ignore_errors=True)
    writer = MemmapSequenceScoreWriter(folder / "bergson", NUM_TRAIN, len(TARGETS), distributed=False)
    writer(list(range(NUM_TRAIN)), gradient_products(problem).T.float())
    writer.flush()


def gradient_products(problem: PeerProblem) -> torch.Tensor:
    """∇ℓ(z_test)ᵀ∇ℓ(zᵢ), t × n, cross-entropy alone."""

    def residuals(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.softmax(problem.model(x), dim=1) - nn.functional.one_hot(y, 10)

    products = residuals(problem.x_test, problem.y_test) @ residuals(problem.x, problem.y).T
    return products * (problem.x_test @ problem.x.T)


def _pytorch_influence_functions(problem: PeerProblem, folder: Path) -> None:
    """Its loop over test images asks for a GPU; what it calls for each, and its writer, do not."""
    from pytorch_influence_functions.calc_influence_function import calc_influence_single
    from pytorch_influence_functions.utils import save_json

    loader, tests = (
        DataLoader(TensorDataset(*pair), batch_size=1, shuffle=False)
        for pair in ((problem.x, problem.y), (problem.x_test, problem.y_test))
    )
    influences: dict[str, Any] = {}
    for place in range(len(TARGETS)):
        influence, harmful, helpful, _ = calc_influence_single(
            problem.model, loader, tests, test_id_num=place, gpu=-1, recursion_depth=20, r=1
        )
        influences[str(place)] = {
            "label": int(problem.y_test[place]),
            "num_in_dataset": place,
            "time_calc_influence_s": 0.0,
            "influence": [one.cpu().numpy().tolist() for one in influence],
            "harmful": harmful[:500],
            "helpful": helpful[:500],
        }
    save_json(influences, folder / "influence_results.json", overwrite_if_exists=True)


WRITERS: dict[str, Callable[[PeerProblem, Path], None]] = {
    "dattri": _dattri,
    "kronfluence": _kronfluence,
    "pyDVL": _pydvl,
    "captum": _captum,
    "traker": _trak,
    "bergson": _bergson,
    "pytorch-influence-functions": _pytorch_influence_functions,
}


def main() -> None:
    """Write what can be written here."""
    folder = read_arguments(__doc__, sys.argv[1:], target="FOLDER") or DEFAULT
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(soft_wrap=True)
    versions = {}
    for name, write in WRITERS.items():
        problem = small_problem()
        try:
            write(problem, folder)
            versions[name] = importlib.metadata.version(name)
        except Exception as error:
            console.print(f"left out: {name} ({type(error).__name__}: {str(error)[:200]})")
    facts = json.dumps(
        {"test_index": TARGETS, "num_train": NUM_TRAIN, "l2": L2, "versions": versions}, indent=2
    )
    (folder / "written_by.json").write_text(facts + "\n", encoding="utf-8")
    console.print(f"wrote {folder}: {', '.join(versions)}")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
