"""Code that a configuration brings along: what it must return, and errors that say where in it they arose."""

import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro.configuration.files import VARIABLE, own_folder
from repro.errors import StageError, UsageError

PACKAGE = Path(__file__).parents[1]
PARTS = (*(path.parent.name for path in PACKAGE.glob("*/__init__.py")), "configs")
"""What stands beside this package: in a checkout this tool. What is installed is nobody's own anyway."""


@contextmanager
def naming_own_code() -> Iterator[None]:
    """Turn what is raised in a file of the own folder into a line that names file, line and function.

    What is raised elsewhere passes: there the traceback is what is needed.

    Raises:
        StageError: in place of an exception that went through such a file.
    """
    try:
        yield
    except (StageError, UsageError):
        raise
    except Exception as error:
        place = _innermost_own_frame(error)
        if place is None:
            raise
        raise StageError(f"{place}: {type(error).__name__}: {error}") from error


def explain_import(error: Exception) -> str:
    """Why a `_target_` could not be had: the innermost cause, which Hydra hides, on one line."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    said = str(cause).splitlines()[0] if str(cause) else ""
    hint = ""
    if isinstance(cause, ModuleNotFoundError) and own_folder() is None:
        hint = f". {VARIABLE}=FOLDER makes the modules in FOLDER known"
    return f"{type(cause).__name__}: {said}{hint}"


def check_made(made: Any, kind: type, name: str) -> None:
    """Raise UsageError unless an object is of a kind, or has all members of a protocol.

    Args:
        made: what a `_target_` returned.
        kind: a class or a protocol.
        name: of the target, such as model._target_=mine.network.
    """
    if isinstance(made, kind):
        return
    missing = [member for member in dir(kind) if not member.startswith("_") and not hasattr(made, member)]
    raise UsageError(
        f"{name} returned a {type(made).__name__}, expected {kind.__module__}.{kind.__name__}; "
        f"it lacks {', '.join(missing) or 'nothing, but is of another class'}"
    )


def solution_of(solve: Callable[[Any], Any], v: Any, name: str) -> Any:
    """What a solver returns for v, once it is a `Solution` with a value like v.

    Raises:
        StageError: it is not.
    """
    from influence.solution import Solution

    found = solve(v)
    if not isinstance(found, Solution):
        raise StageError(f"{name} returned a {type(found).__name__}, expected influence.solution.Solution")
    if found.value.shape != v.shape or found.value.dtype != v.dtype:
        raise StageError(
            f"{name} returned a value of shape {tuple(found.value.shape)} in {found.value.dtype}, "
            f"expected {tuple(v.shape)} in {v.dtype}, like v"
        )
    return found


def fit_of(
    minimise: Any,
    risk: Any,
    name: str,
    progress: Callable[[int, float], None],
    checkpoint: Any = None,
) -> Any:
    """What a fit returns for a risk, once it is an `erm.fit.Fit` of that risk.

    Args:
        minimise: what `fit._target_` gave.
        risk: the empirical risk to minimise.
        name: of the target, such as fit._target_=mine.Fit.
        progress: for it to call with passes and gradient norm.
        checkpoint: where a fit that has a parameter of this name may leave its state.

    Raises:
        UsageError: it is no fit: it cannot be called so, or returns something else.
    """
    from erm.fit import Fit

    wanted = "a fit is called with (risk, progress=…) and returns an erm.fit.Fit"
    further: dict[str, Any] = {}
    try:
        signature = inspect.signature(minimise)
        signature.bind(risk, progress=progress)
        further = {"checkpoint": checkpoint} if "checkpoint" in signature.parameters else {}
    except TypeError as error:
        raise UsageError(
            f"{name} returned a {type(minimise).__name__} that cannot be called so ({error}): {wanted}"
        ) from error
    except ValueError:
        # What has no signature to ask for is left to the call.
        pass
    found = minimise(risk, progress=progress, **further)
    if not isinstance(found, Fit):
        raise UsageError(f"{name} is no fit: called, it returned a {type(found).__name__}: {wanted}")
    _check_theta(found.theta, risk, name)
    return found


def _check_theta(theta: Any, risk: Any, name: str) -> None:
    import torch

    like, expected = risk.initial_parameters(), (risk.num_parameters,)
    if not isinstance(theta, torch.Tensor):
        raise UsageError(f"{name}: the theta of its Fit is a {type(theta).__name__}, expected a torch.Tensor")
    if tuple(theta.shape) != expected or theta.dtype != like.dtype:
        raise UsageError(
            f"{name}: the theta of its Fit has shape {tuple(theta.shape)} in {theta.dtype}, expected "
            f"{expected} in {like.dtype}"
        )


def is_own(file: Path) -> bool:
    """Whether a file is the user's: in the own folder, which may itself hold this package."""
    own = own_folder()
    if own is None or not file.is_relative_to(own) or "site-packages" in file.parts:
        return False
    return not any(file.is_relative_to(PACKAGE / name) for name in PARTS)


def _innermost_own_frame(error: Exception) -> str | None:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(Path(frame.filename))]
    if not frames:
        return None
    return f"{frames[-1].filename}, line {frames[-1].lineno}, in {frames[-1].name}"
