"""The fewest overrides that answer failed checks, and how a figure of minima is asked for."""

from diagnosis.verdict import Verdict
from repro.configuration.compose import Config, compose
from repro.configuration.defaults import defaults
from repro.retraining import retrain_settings


def minima_by(config: Config, fit: str) -> str:
    """The value of `fit` that ends at a minimum, with the override that solves models to minima too.

    Args:
        config: that is diagnosed.
        fit: the file of the group that ends at a minimum of such a model.
    """
    return fit if retrain_settings(config).steps is None else f"{fit} retrain=default"


def repair(config: Config, failed: list[Verdict], fit: str) -> str:
    """The fewest overrides that answer the failed checks; empty where there are none.

    Args:
        config: that is diagnosed.
        failed: those that are bad.
        fit: as of `minima_by`.
    """
    checks = {verdict.check for verdict in failed}
    changes = list[str]()
    if "curvature" in checks and config["model"].get("l2") == 0:
        changes.append(f"model.l2={defaults()['model']['l2']:g}")
    # Of a convex risk every point where the gradient vanishes is a minimum.
    unfit = {"converged"} if fit == "newton" else {"converged", "curvature"}
    if unfit & checks and config["fit"].get("_target_") != compose([f"fit={fit}"])["fit"]["_target_"]:
        changes.append(f"fit={minima_by(config, fit)}")
        if fit != "newton" and config["influence"].get("damping"):
            # At a minimum it is not needed, and where H is nearly flat it is most of an error.
            changes.append("influence.damping=0")
    if "LiSSA" in checks and "curvature" not in checks:
        changes.append("--method cg")
    return " ".join(changes)
