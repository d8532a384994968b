"""Makes `import torchvision` work beside a CPU-only torch.

torchvision's wheels on PyPI are compiled against CUDA builds of torch. Beside a CPU-only torch the compiled
extension cannot be loaded, which torchvision tolerates, but its next step registers shape functions for two
operators of that extension and fails: "operator torchvision::nms does not exist"
(https://github.com/pytorch/vision/issues/9085). The data sets need no compiled operator, so it is enough that
the two names exist.
"""

import sys

import torch

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_missing_operators() -> None:
    """Declare the operators without which torchvision cannot be imported; call it before each import.

    A declared operator has a schema and no implementation: calling it raises NotImplementedError. Where
    torchvision can be imported nothing is declared, so a healthy torchvision keeps its own operators, and
    a second call does nothing. Only the import itself can tell whether torchvision is healthy: a name that
    is declared before the extension loads would clash with the extension's own.

    Raises:
        ImportError, RuntimeError: torchvision cannot be imported for any other reason.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        # Submodules that a failed import leaves behind are not bound to the package by the next one.
        for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        for operator in OPERATORS:
            if not hasattr(torch.ops.torchvision, operator):
                # Without `lib=`, torch itself keeps the Library alive to which the operator is tied.
                torch.library.define(f"torchvision::{operator}", SCHEMA)
