"""captum (Meta): https://captum.ai; its Arnoldi method after Schioppa et al. (2022)."""

import tempfile
from pathlib import Path

import torch
from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.peers.problem import Candidates, PeerProblem

BATCH = 5000
HESSIAN_EXAMPLES = 5000
"""Its documentation asks for a smaller data set for the Hessian than for the scores."""


def _scores(problem: PeerProblem) -> Float[Tensor, " n"]:
    some = torch.utils.data.TensorDataset(problem.x[:HESSIAN_EXAMPLES], problem.y[:HESSIAN_EXAMPLES])
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pt"
        torch.save(problem.model.state_dict(), checkpoint)
        method = ArnoldiInfluenceFunction(
            nn.Sequential(problem.model),
            problem.batches(BATCH),
            checkpoint=str(checkpoint),
            checkpoints_load_func=lambda model, path: 1.0,
            loss_fn=nn.CrossEntropyLoss(reduction="sum"),
            sample_wise_grads_per_batch=True,
            batch_size=BATCH,
            hessian_dataset=some,
            hessian_reg=problem.l2,
        )
        found: Tensor = method.influence((problem.x_test, problem.y_test))
    return found[0]


CANDIDATES: Candidates = {"captum Arnoldi projection_dim=50": _scores}
