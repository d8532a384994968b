"""The fewest overrides that answer the failed checks of a diagnosis."""

from diagnosis.verdict import Verdict
from repro.configuration.compose import Config, compose
from repro.configuration.defaults import defaults
from repro.problem import minima_by


def repair(config: Config, failed: list[Verdict], fit: str) -> str:
    """The fewest overrides that answer the failed checks; empty where there are none.

    Args:
        fit: the file of the group that ends at a minimum of such a model.
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


def advice(repaired: str) -> str:
    """What to change where checks failed: the repair, or where to look for one."""
    if not repaired:
        return "What to change stands beside each check."
    # At a minimum of a network other checks may still fail: what one removal changes is not first order.
    aim = "for a figure at a minimum" if "fit=local" in repaired else "that repairs the figure"
    return f"The smallest change {aim}: {repaired}"
