"""What a check says."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One check's answer."""

    check: str
    passed: bool | None
    """None: it could not be made, and `evidence` says why."""
    evidence: str
    remedy: str = ""
    """What to do; empty when there is nothing to do."""
    numbers: dict[str, Any] = field(default_factory=dict)
    """The evidence for programs."""
