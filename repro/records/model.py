"""What a model file says of its θ̂, maybe a stranger's: believed only in the form that train writes."""

import json
import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from repro.folder.paths import RunFolder
from repro.printable import printable_strings


class StoredProvenance(BaseModel):
    """Where θ̂ comes from, as `repro/folder/provenance.py` tells it."""

    model_config = ConfigDict(strict=True)
    versions: dict[str, str]
    device: str
    threads: int
    platform: str
    git_commit: str | None


class StoredFacts(BaseModel):
    """What a model file says of itself; what has a default, those of earlier versions may lack."""

    model_config = ConfigDict(strict=True)
    gradient_norm: float
    converged: bool
    data_checksum: str
    checksum: str
    configuration: dict[str, Any]
    provenance: StoredProvenance
    objective: float = math.nan
    passes: int = 0
    test_accuracy: float = math.nan
    seconds: float = math.nan
    trace: list[Annotated[list[float | None], Field(min_length=2)]] = []


def stored_facts(folder: RunFolder) -> dict[str, Any] | None:
    """The facts stored beside θ̂, whatever its configuration; None when they are missing or damaged."""
    try:
        with safe_open(folder.model, framework="pt") as file:
            facts: dict[str, Any] = printable_strings(json.loads((file.metadata() or {})["facts"]))
        StoredFacts.model_validate(facts)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError):
        return None
    return facts
