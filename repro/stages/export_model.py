"""`repro export-model`: θ̂ as the state dict of a torch module, so that other tools explain the same model."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from erm.autograd import AutogradRisk
from erm.files import write_atomically
from erm.risk import EmpiricalRisk
from erm.softmax import SoftmaxRisk
from repro.errors import StageError, UsageError
from repro.notices import note_wrote
from repro.session import Session

SUFFIXES = (".pt", ".safetensors")


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """The file that was written, and what loads it."""

    file: Path
    module: str
    """The class of the module in words."""
    shapes: dict[str, list[int]]
    """By the name of a parameter."""
    dtype: str


def export_model(session: Session, out: Path) -> ExportedModel:
    """Write θ̂ by parameter names.

    Raises:
        UsageError: the file's name says no format.
        StageError: there is no θ̂ yet, or the model is no module of torch.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: expected a name that ends in {' or '.join(SUFFIXES)}")
    with session.opened():
        theta = session.model(torch.device("cpu")).theta
        risk = session.risk_on(torch.device("cpu"))
    parameters, module = state_dict(risk, theta), _module(risk)
    save = torch.save if out.suffix == ".pt" else save_file
    write_atomically(out, lambda path: save(parameters, path))
    found = ExportedModel(
        file=out,
        module=module,
        shapes={name: list(values.shape) for name, values in parameters.items()},
        dtype=str(theta.dtype).removeprefix("torch."),
    )
    session.listener.result(found)
    note_wrote(out)
    return found


def state_dict(risk: EmpiricalRisk, theta: Float[Tensor, " p"]) -> dict[str, Tensor]:
    """θ by the names that the module gives its parameters.

    Of softmax regression with logits W x + b these are those of `torch.nn.Linear`: `weight` (classes ×
    features) and, with a bias, `bias` (classes).

    Raises:
        StageError: the model is no module.
    """
    if isinstance(risk, SoftmaxRisk):
        weights = risk.weights(theta)
        parts = {"weight": weights[:, :-1], "bias": weights[:, -1]} if risk.bias else {"weight": weights}
    elif isinstance(risk, AutogradRisk):
        parts = risk.unflatten(theta)
    else:
        raise StageError(f"a {type(risk).__name__} is no module of torch, so it has no state dict")
    return {name: values.detach().clone().contiguous() for name, values in parts.items()}


def _module(risk: EmpiricalRisk) -> str:
    if isinstance(risk, SoftmaxRisk):
        bias = "" if risk.bias else ", bias=False"
        return f"torch.nn.Linear({risk.num_features - risk.bias}, {risk.num_classes}{bias})"
    return type(getattr(risk, "module", risk)).__name__
