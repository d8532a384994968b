"""l2_terms.safetensors: what `repro score` holds scores against to see where L2 is, computed once.

All belongs to one θ̂ and one data set, which the file names; with others it is of no use.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder
from repro.records.model import ModelFacts

MODEL = "model"
"""Under this key the file names θ̂ and the data."""
TEST_GRADIENT = "test_gradient"
REFERENCE = "reference/"
"""Before the index of a test point."""
LARGEST = 1e100
"""Beyond it squares overflow."""


@dataclass(frozen=True, kw_only=True)
class KeptTerms:
    """What has been computed so far."""

    test_gradient: Float[np.ndarray, " n"] | None = None
    """λθ̂ᵀH⁻¹∇L(zᵢ)/n: what predicted changes gain if the test gradient has λθ̂ in it."""
    reference: dict[int, Float[np.ndarray, " n"]] = field(default_factory=dict)
    """By test point, the predicted change of every training point, where no precise method is in the run."""


def terms_key(facts: ModelFacts) -> str:
    """Names θ̂ to the last bit, and the examples, of which some are the test points."""
    return f"{facts.checksum} {facts.data_checksum}"


def read_terms(folder: RunFolder, key: str) -> KeptTerms:
    """What is there for this key; nothing where the file is missing, damaged or another's."""
    try:
        with safe_open(folder.l2_terms, framework="np") as file:
            if (file.metadata() or {}).get(MODEL) != key:
                return KeptTerms()
            found = {name: _vector(file, name) for name in file.keys()}  # noqa: SIM118  # no mapping
        reference = {
            int(name.removeprefix(REFERENCE)): values
            for name, values in found.items()
            if name.startswith(REFERENCE)
        }
    except (OSError, ValueError, SafetensorError):
        return KeptTerms()
    return KeptTerms(test_gradient=found.get(TEST_GRADIENT), reference=reference)


def _vector(file: Any, name: str) -> Float[np.ndarray, " n"]:
    """One of the file, which may be a stranger's.

    Raises:
        ValueError: it is no vector of numbers that can be computed with.
    """
    part = file.get_slice(name)
    if part.get_dtype() != "F64" or len(part.get_shape()) != 1:
        raise ValueError(f"{name} is no vector in float64")
    values: Float[np.ndarray, " n"] = file.get_tensor(name)
    if not bool((np.abs(values) <= LARGEST).all()):
        raise ValueError(f"{name} has numbers that are none, or too large")
    return values


def add_terms(folder: RunFolder, key: str, more: KeptTerms) -> None:
    """Write what there is now beside what was there for the same key."""
    known = read_terms(folder, key)
    reference = known.reference | more.reference
    gradient = known.test_gradient if more.test_gradient is None else more.test_gradient
    arrays = {f"{REFERENCE}{target}": np.ascontiguousarray(values) for target, values in reference.items()}
    if gradient is not None:
        arrays[TEST_GRADIENT] = np.ascontiguousarray(gradient)
    write_result(folder, folder.l2_terms, lambda path: save_file(arrays, path, metadata={MODEL: key}))
