"""One experiment: its configuration, its run folder, its stages and their results.

The way in from Python: `from repro import Experiment`, and for a risk of one's own the plain functions beside
it. See docs/python.md.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repro.experiment import Experiment as Experiment
    from repro.functions import certify as certify
    from repro.functions import fit as fit
    from repro.functions import influence as influence
    from repro.functions import leave_out as leave_out
    from repro.functions import softmax_regression as softmax_regression
    from repro.scoring import score as score
    from repro.step_functions import newton_step as newton_step
    from repro.step_functions import rescaled_influence as rescaled_influence

_FUNCTIONS = (
    "certify",
    "fit",
    "influence",
    "leave_out",
    "softmax_regression",
)
_STEPS = ("newton_step", "rescaled_influence")
_HOMES = {"Experiment": "repro.experiment", "score": "repro.scoring"}
_HOMES |= dict.fromkeys(_FUNCTIONS, "repro.functions")
_HOMES |= dict.fromkeys(_STEPS, "repro.step_functions")
__all__ = [
    "Experiment",
    "certify",
    "fit",
    "influence",
    "leave_out",
    "newton_step",
    "rescaled_influence",
    "score",
    "softmax_regression",
]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: torch takes a second, which `repro --help` need not wait for."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
