"""model.safetensors: θ̂ and the facts about it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from erm.aligned import aligned
from repro.configuration.compose import Config
from repro.errors import StageError
from repro.folder.manifest import write_result
from repro.folder.naming import describe_differences, determining
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.problem import minima_by
from repro.records.model import ModelFacts, stored_facts
from repro.version import PROJECT, tool_version


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """θ̂ as `model.safetensors` holds it, with the facts stored beside it."""

    theta: Float[Tensor, " p"]
    facts: ModelFacts

    @property
    def key(self) -> str:
        """Names θ̂ to the last bit: what is stored relative to it is of no use with another."""
        return self.facts.checksum


def theta_checksum(theta: Float[Tensor, " p"]) -> str:
    """SHA-256 of θ̂'s bytes."""
    return hashlib.sha256(theta.cpu().numpy().tobytes()).hexdigest()


def save_model(
    folder: RunFolder,
    theta: Float[Tensor, " p"],
    facts: ModelFacts,
    moments: Float[Tensor, "2 p"] | None = None,
) -> None:
    """Write θ̂ and the facts about it, and the moments that training can go on with, where it has some."""
    tensors = {"theta": theta.cpu().contiguous()}
    if moments is not None:
        tensors["moments"] = moments.cpu().contiguous()
    metadata = {"facts": json.dumps(facts.model_dump())}
    write_result(folder, folder.model, lambda path: save_file(tensors, path, metadata=metadata))


def load_model(folder: RunFolder, config: Config, data_checksum: str, device: torch.device) -> TrainedModel:
    """Read θ̂, which must have been trained under this configuration and on these very examples.

    Raises:
        StageError: it was not trained yet, is damaged, or belongs to another configuration or other data.
    """
    facts = read_facts(folder, config)
    if facts.data_checksum != data_checksum:
        raise StageError(
            f"{folder.model} was trained on other examples:\n"
            f"  data checksum: {facts.data_checksum} there, {data_checksum} here\n"
            "Give the same data, or another output_dir"
        )
    with safe_open(folder.model, framework="pt") as file:
        stored = file.get_tensor("theta")
    theta = aligned(stored, like=torch.empty(0, dtype=stored.dtype, device=device))
    return TrainedModel(theta=theta, facts=facts)


def load_moments(folder: RunFolder, theta: Float[Tensor, " p"]) -> Float[Tensor, "2 p"] | None:
    """Those beside θ̂, on its device; None where its training has left none."""
    with safe_open(folder.model, framework="pt") as file:
        moments = file.get_tensor("moments") if "moments" in file.keys() else None  # noqa: SIM118  # no mapping
    if moments is None or moments.shape != (2, len(theta)) or not bool(moments.isfinite().all()):
        return None
    return aligned(moments, like=torch.empty(0, dtype=moments.dtype, device=theta.device))


def read_facts(folder: RunFolder, config: Config) -> ModelFacts:
    """The facts stored beside θ̂, which must have been trained under this configuration.

    Raises:
        StageError: it was not trained yet, is damaged, or belongs to another configuration.
    """
    if not folder.model.exists():
        where = "" if folder.path.is_absolute() else f" in the working directory {Path.cwd()}"
        raise StageError(f"{folder.model} is missing{where}. Run first: {config.command('train')}")
    facts = stored_facts(folder)
    if facts is None:
        raise StageError(f"{folder.model} is damaged. Remove it and run: {config.command('train')}")
    different = describe_differences(facts.configuration, determining(config.values))
    if different:
        raise StageError(f"{folder.model} was trained under another configuration:\n{different}")
    written_by = facts.provenance.versions.get(PROJECT, "unknown")
    if written_by != tool_version():
        warn(f"{folder.model} was written by version {written_by} of this tool, this is {tool_version()}")
    return facts


def not_converged(facts: ModelFacts, config: Config, fit: str = "newton") -> str:
    """Why a θ̂ that is no minimiser is of no use, and what to do: `fit` ends at a minimum of such a model."""
    said = f"the fit has not converged: ‖∇R(θ̂)‖ = {facts.gradient_norm:.1e}"
    without_l2 = config["model"].get("l2") == 0
    no_minimiser = "With model.l2=0 the risk may have no minimiser at all: set model.l2 > 0"
    if facts.reason:
        return f"{said}; {facts.reason}" + (f". {no_minimiser}" if without_l2 else "")
    chosen, way = config.choices["fit"], f"fit={minima_by(config, fit)}"
    if fit != "newton" and chosen == "newton":
        return f"{said}. fit=newton is for convex risks, which nothing proves this one to be: take {way}"
    if without_l2:
        return f"{said}. {no_minimiser} (the paper uses 0.01)"
    # Some fits take a fixed number of steps; one's own may have other keys.
    keys = " or ".join(f"fit.{key}" for key in ("max_passes", "tolerance", "steps") if key in config["fit"])
    if keys and chosen == fit:
        return f"{said}. Raise {keys}"
    return f"{said}. " + (f"Raise {keys}, or take {way}" if keys else f"Take {way}")
