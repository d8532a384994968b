"""How verdicts are said: a line each, and what to do beneath it."""

from cli.console import out, say
from diagnosis.verdict import Verdict

MARKS = {True: ("good", "green"), False: ("BAD", "red"), None: ("open", "yellow")}


def say_verdict(verdict: Verdict) -> None:
    """The mark, the check, its evidence; and the remedy."""
    mark, style = MARKS[verdict.passed]
    out.print(f"{mark:<5}", style=style, end="")
    say(f" {verdict.check}: {verdict.evidence}")
    if verdict.remedy:
        say(f"      → {verdict.remedy}")
