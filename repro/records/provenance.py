"""Where a result comes from: versions, data, commit, machine."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from repro.records.model import Provenance
from repro.version import PROJECT

PACKAGES = (PROJECT, "torch", "numpy", "scipy", "scikit-learn", "pandas", "safetensors")


def provenance(data_checksum: str, device: torch.device) -> Provenance:
    """Facts for `provenance.json`."""
    return Provenance(
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        data_checksum=data_checksum,
        git_commit=_git_commit(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        threads=torch.get_num_threads(),
        platform=platform.platform(),
    )


def _git_commit() -> str | None:
    """The commit of the checkout this code runs from; None when it was installed otherwise."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
