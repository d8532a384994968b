"""What a check says: good, bad or undecided; and what several say together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One check's answer."""

    check: str
    passed: bool | None
    """True: good. False: bad. None: undecided, and `evidence` says why."""
    evidence: str
    remedy: str = ""
    """What to do; empty when there is nothing to do."""
    numbers: Mapping[str, object] = field(default_factory=dict)
    """The evidence for programs, as JSON can hold it: written, and read by nobody here."""
    value: str = ""
    """The one number it was judged by, as it is written in a table; empty where there is no such number."""
    counts: bool = True
    """Whether it says anything about the figure: a baseline is there for comparison and condemns nothing."""


def conclude(verdicts: Iterable[Verdict]) -> bool | None:
    """Bad if one that counts is bad, undecided if one is undecided or none counts, else good."""
    states = [verdict.passed for verdict in verdicts if verdict.counts]
    if False in states:
        return False
    return None if not states or None in states else True


def conclusion(verdicts: Iterable[Verdict]) -> str:
    """What they say of the figure together, in a sentence."""
    counted = [verdict for verdict in verdicts if verdict.counts]
    if failed := sum(verdict.passed is False for verdict in counted):
        return f"{failed} of {len(counted)} checks failed: this configuration's figure cannot be trusted"
    if conclude(counted):
        return "The figure can be trusted."
    undecided = ", ".join(verdict.check for verdict in counted if verdict.passed is None) or "everything"
    return f"No check failed, but {undecided} stayed undecided: the figure is neither confirmed nor refuted."
