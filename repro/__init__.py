"""One experiment: its configuration, its run folder, its stages and their results.

`from repro import Experiment` is the way in from Python: see docs/python.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repro.experiment import Experiment as Experiment

__all__ = ["Experiment"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: torch takes a second, which `repro --help` need not wait for."""
    if name == "Experiment":
        from repro.experiment import Experiment

        return Experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
