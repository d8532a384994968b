"""kronfluence (Grosse et al., 2023): https://github.com/pomonam/kronfluence"""

import copy
import tempfile
from typing import Any

import torch
from jaxtyping import Float
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from benchmarks.peers.problem import Candidates, PeerProblem

BATCH = 5000


class Classification(Task):  # type: ignore[misc]
    """As in its example for CIFAR-10."""

    def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
        x, y = batch
        logits = model(x)
        if sample:
            with torch.no_grad():
                y = torch.multinomial(torch.softmax(logits.detach(), dim=-1), num_samples=1).flatten()
        return cross_entropy(logits, y, reduction="sum")

    def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
        return self.compute_train_loss(batch, model)


def _scores(problem: PeerProblem, strategy: str, arguments: ScoreArguments) -> Float[Tensor, " n"]:
    task, train = Classification(), TensorDataset(problem.x, problem.y)
    model = prepare_model(nn.Sequential(copy.deepcopy(problem.model)), task)
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer("mnist", model, task, cpu=True, output_dir=folder, disable_tqdm=True)
        analyzer.fit_all_factors(
            "factors", train, per_device_batch_size=BATCH, factor_args=FactorArguments(strategy=strategy)
        )
        analyzer.compute_pairwise_scores(
            "scores",
            factors_name="factors",
            query_dataset=TensorDataset(problem.x_test, problem.y_test),
            train_dataset=train,
            per_device_query_batch_size=1,
            per_device_train_batch_size=BATCH,
            score_args=arguments,
        )
        found: Tensor = analyzer.load_pairwise_scores("scores")["all_modules"][0]
    return found


def _damped_by_l2(problem: PeerProblem, strategy: str) -> Float[Tensor, " n"]:
    """The L2 of this risk is its damping."""
    return _scores(problem, strategy, ScoreArguments(damping_factor=problem.l2))


CANDIDATES: Candidates = {
    "kronfluence KFAC": lambda problem: _damped_by_l2(problem, "kfac"),
    "kronfluence EK-FAC heuristic damping": lambda problem: _scores(
        problem, "ekfac", ScoreArguments(damping_factor=None)
    ),
    "kronfluence EK-FAC": lambda problem: _damped_by_l2(problem, "ekfac"),
}
