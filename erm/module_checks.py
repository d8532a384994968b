"""Of which `nn.Module` influence can be computed: refused before work starts, with what to do instead.

Influence takes second derivatives, and it takes the risk for a function of θ that is a mean over examples. So
a module must be twice differentiable, answer the same each time, answer each row on its own, and keep all
that training changes in its parameters. It is tried on two examples, and the operations that run are watched:
what a module is called says nothing of what its `forward` does.
"""

import copy
import warnings
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

SMOOTH = "a smooth one, such as nn.Tanh, nn.Softplus or nn.GELU"
KINKED = {
    "relu": "ReLU", "leaky_relu": "LeakyReLU", "_prelu_kernel": "PReLU", "rrelu_with_noise": "RReLU",
    "hardtanh": "Hardtanh or ReLU6", "hardswish": "Hardswish", "hardsigmoid": "Hardsigmoid",
    "threshold": "Threshold", "elu": "ELU, SELU or CELU", "hardshrink": "Hardshrink",
    "softshrink": "Softshrink",
}  # fmt: skip
"""By what torch calls the operation: activations whose first or second derivative jumps."""
SWITCHING = {
    "max_pool1d_with_indices": "max pooling", "max_pool2d_with_indices": "max pooling",
    "max_pool3d_with_indices": "max pooling", "adaptive_max_pool2d": "max pooling", "amax": "a maximum",
    "amin": "a minimum", "max": "a maximum", "min": "a minimum", "maximum": "a maximum",
    "minimum": "a minimum", "abs": "an absolute value", "clamp": "clamping", "clamp_min": "clamping",
    "clamp_max": "clamping",
}  # fmt: skip
"""Operations that are smooth but where they switch: they may stand where they never do."""
SAME = 1e-4
"""Relative difference up to which two answers are the same but for rounding, in float32."""


class _Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Notes which operations run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.overloadpacket.__name__.removesuffix("_"))
        return func(*args, **(kwargs or {}))


def check_module(
    module: nn.Module, evaluated: nn.Module, x: Float[Tensor, "n features"], y: Int[Tensor, " n"]
) -> None:
    """Try a module on the first two examples; warn of what may be meant otherwise.

    Args:
        module: as it was given, perhaps in training mode.
        evaluated: its copy in evaluation mode, like `x`.

    Raises:
        ValueError: it is not twice differentiable, changes its buffers in training, answers at random, mixes
            the rows, or gives no logits for these labels.
    """
    name, some = type(module).__name__, x[:2]
    if not any(True for _ in module.parameters()):
        raise ValueError(f"{name} has no parameters")
    with torch.no_grad():
        _refuse_changing_buffers(module, some)
        with _Watched() as watched:
            logits = evaluated(some)
        _refuse_kinks(name, watched.seen)
        if logits.ndim != 2 or len(logits) != len(some):
            raise ValueError(
                f"{name} maps {tuple(some.shape)} to {tuple(logits.shape)}, expected ({len(some)}, classes)"
            )
        _refuse_other_answers(name, evaluated, some, logits)
    if len(y) and int(y.max()) >= logits.shape[1]:
        raise ValueError(f"{name} gives {logits.shape[1]} logits, but there is a label {int(y.max())}")
    _warn_of_dropout(module)


def _refuse_changing_buffers(module: nn.Module, some: Float[Tensor, "m features"]) -> None:
    if not any(True for _ in module.buffers()):
        return
    # In the mode it came in: batch normalisation in evaluation mode is a constant map.
    tried = copy.deepcopy(module).to(some)
    before = {name: buffer.clone() for name, buffer in tried.named_buffers()}
    # Statistics of a single row are not defined, and torch says so by an exception of its own.
    tried(torch.cat([some, some + 1]))
    for name, buffer in tried.named_buffers():
        if not torch.equal(buffer, before[name]):
            layer = type(tried.get_submodule(name.rpartition(".")[0])).__name__
            raise ValueError(
                f"{layer}: its buffer {name} changes in training, outside of θ. Take nn.LayerNorm or "
                "nn.GroupNorm, or freeze a trained module by its eval() before it is handed over"
            )


def _refuse_kinks(name: str, seen: set[str]) -> None:
    if kinks := [KINKED[operation] for operation in sorted(seen & KINKED.keys())]:
        raise ValueError(
            f"{name} uses {' and '.join(kinks)}, which is not twice differentiable, and influence needs "
            f"second derivatives. Take {SMOOTH}"
        )
    if switching := sorted({SWITCHING[operation] for operation in seen & SWITCHING.keys()}):
        warnings.warn(
            f"{name} uses {' and '.join(switching)}: where that switches, the loss has no second derivative, "
            "and a fit may not converge. Averages are smooth",
            stacklevel=4,
        )


def _refuse_other_answers(
    name: str, module: nn.Module, some: Float[Tensor, "m features"], logits: Float[Tensor, "m K"]
) -> None:
    def differs(other: Float[Tensor, "k K"], first: Float[Tensor, "k K"]) -> bool:
        return not bool(((other - first).abs() <= SAME * (1 + first.abs())).all() or first.isnan().any())

    if differs(module(some), logits):
        raise ValueError(
            f"{name} answers differently each time, even in evaluation mode. Take its randomness out, such "
            "as dropout that does not look at `self.training`"
        )
    if differs(module(some[:1]), logits[:1]):
        raise ValueError(
            f"{name} answers a row differently when another row is beside it, so the risk is no mean over "
            "examples. Take out what mixes rows, such as batch normalisation"
        )


def _warn_of_dropout(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training and layer.p > 0:
            warnings.warn(
                f"{type(layer).__name__}(p={layer.p:g}) is off here: the risk is that of the module in "
                "evaluation mode. Take it out, or call the module's eval() to say that this is meant",
                stacklevel=4,
            )
            return
