"""How verdicts are said: a line each, and what to do beneath it."""

from dataclasses import asdict

from rich.text import Text

from cli.console import say
from diagnosis.verdict import Verdict

MARKS = {True: ("good", "green"), False: ("BAD", "red"), None: ("open", "yellow")}
BASELINE = ("base", "cyan")
"""Of what is there for comparison and counts for nothing."""


def say_verdict(verdict: Verdict) -> None:
    """The mark, the check, its evidence; and the remedy. One that failed is said in quiet too."""
    mark, style = MARKS[verdict.passed] if verdict.counts else BASELINE
    remedy = f"\n      → {verdict.remedy}" if verdict.remedy else ""
    line = Text.assemble((f"{mark:<5}", style), f" {verdict.check}: {verdict.evidence}{remedy}")
    say(line, "verdict", always=verdict.passed is False, **asdict(verdict))
