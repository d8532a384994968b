"""What a model file says of its θ̂, maybe a stranger's: believed only in the form that `train` writes."""

import json
import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from repro.folder.paths import RunFolder
from repro.printable import printable_strings


class Provenance(BaseModel):
    """Where θ̂ comes from: the content of provenance.json."""

    model_config = ConfigDict(strict=True, frozen=True)
    versions: dict[str, str]
    data_checksum: str = ""
    git_commit: str | None
    device: str
    threads: int
    platform: str


class ModelFacts(BaseModel):
    """What a model file says of itself; what has a default, those of earlier versions may lack."""

    model_config = ConfigDict(strict=True, frozen=True)
    gradient_norm: float
    """‖∇R(θ̂)‖₂, L2 inside."""
    converged: bool
    data_checksum: str
    checksum: str
    """SHA-256 of θ̂'s bytes: what is stored relative to θ̂ names it by this."""
    configuration: dict[str, Any]
    """What determines θ̂, by dotted key."""
    provenance: Provenance
    smallest_eigenvalue: float | None = None
    """λ_min of H at θ̂, L2 inside, where the fit has looked."""
    reason: str = ""
    """Why the fit did not converge, where it says so itself."""
    objective: float = math.nan
    passes: int = 0
    test_accuracy: float = math.nan
    seconds: float = math.nan
    trace: list[Annotated[list[float | None], Field(min_length=2)]] = []


def stored_facts(folder: RunFolder) -> ModelFacts | None:
    """The facts stored beside θ̂, whatever its configuration; None when they are missing or damaged."""
    try:
        with safe_open(folder.model, framework="np") as file:
            facts: dict[str, Any] = printable_strings(json.loads((file.metadata() or {})["facts"]))
        return ModelFacts.model_validate(facts)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError):
        return None
