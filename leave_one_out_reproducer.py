"""Where the installed `repro` starts, under a name that no other project has.

The packages of this tool have common words for names. Where PYTHONPATH puts folders of such names first,
Python imports another project's, and fails with a line that helps nobody. Here both are named.
"""

import importlib.util
import sys
from pathlib import Path

PACKAGES = (
    "cli",
    "diagnosis",
    "erm",
    "influence",
    "parallel",
    "plots",
    "report",
    "repro",
    "retrain",
    "score",
)
HOME = Path(__file__).parent


def main() -> None:
    """The console script `repro`."""
    wrong = shadowing()
    if wrong is not None:
        sys.stderr.write(f"error: {wrong}\n")
        raise SystemExit(2)
    from cli.main import main as command_line

    command_line()


def shadowing() -> str | None:
    """What to say where another package is found in place of this tool's; None where none is."""
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = [] if spec is None else [*(spec.submodule_search_locations or []), spec.origin or ""]
        if not any(Path(place).is_relative_to(HOME / name) for place in found if place):
            place = found[0] if found else "nothing"
            return (
                f"the package {name} of this tool is in {HOME / name}, but Python finds {place} first. Take "
                "the folder that holds it off PYTHONPATH, or rename it"
            )
    return None
