"""What `repro compare` compares: methods, and the settings of each that are to be others."""

import shlex
from dataclasses import dataclass

from influence.estimator import RemovalEstimator
from influence.solution import Solver
from repro.configuration.compose import Config, check_method_names, compose, compose_methods
from repro.errors import UsageError
from repro.problem import make_solver
from repro.selection import makes_groups


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """A method, and what of its settings was asked for."""

    method: str
    settings: str
    solver: Solver | RemovalEstimator


def read_settings(config: Config) -> list[MethodSettings]:
    """What `compare.settings` asks for. Settings on the command line reach every method that has them.

    Raises:
        UsageError: a setting names no method, a key or value that it does not take, or a damping of its own.
    """
    words = [shlex.split(text) for text in config["compare"]["settings"]]
    if not all(words):
        raise UsageError("compare.settings: every one starts with a method")
    methods = [first for first, *_ in words]
    check_method_names(methods)
    common = {found.method: found for found in compose_methods(list(config.overrides), methods)}
    found = []
    for method, *settings in words:
        for text in settings:
            if text.split("=")[0] in ("test_index", "top_k"):
                raise UsageError(
                    f"compare.settings: {text} is no setting of a method; give it beside compare.settings"
                )
        overrides = [*common[method].overrides, *(f"influence.{text}" for text in settings)]
        solver = make_solver(compose(overrides, method))
        if isinstance(solver, RemovalEstimator) and not makes_groups(config):
            raise UsageError(
                f"compare.settings: {method} has no s_test that could be compared with the exact one; "
                "`repro run` holds it against retraining, and so does a comparison on groups of rows"
            )
        found.append(MethodSettings(method=method, settings=" ".join(settings), solver=solver))
    common_damping(found)
    return found


def common_damping(found: list[MethodSettings]) -> float:
    """The damping that all settings share: with another they would solve for something else."""
    named = (getattr(one.solver, "damping", None) for one in found)
    dampings = {float(damping) for damping in named if damping is not None}
    if len(dampings) > 1:
        raise UsageError(
            f"compare.settings: one damping for all, or they answer different questions; got {dampings}. "
            "Give it as influence.damping=…"
        )
    return dampings.pop() if dampings else 0.0
