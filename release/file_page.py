"""Makes docs/files.md: one line per file, which is the first of its docstring.

`python -m release.file_page > docs/files.md` writes it; a test says when it is not current.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
FLOORS = ("cli", "repro", "report", "diagnosis", "influence", "retrain", "score", "plots", "parallel", "erm")
HEAD = """# Files

One line per file, as its own docstring says it, from the floor that a user meets down to the mathematics.
Which floor may use which is in [the architecture](architecture.md). This page is made by
`python -m release.file_page > docs/files.md`.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([HEAD, *(line for floor in FLOORS for line in _floor(floor))]).rstrip() + "\n"


def _floor(floor: str) -> Iterator[str]:
    yield f"## {floor}/\n"
    yield f"{_sentence(PROJECT / floor / '__init__.py')}\n"
    yield "| file | what it answers |\n|---|---|"
    for path in sorted((PROJECT / floor).rglob("*.py")):
        name = path.relative_to(PROJECT / floor).as_posix()
        if name.endswith("__init__.py"):
            if "/" in name:
                yield f"| **{name.removesuffix('__init__.py')}** | {_sentence(path)} |"
            continue
        yield f"| {name} | {_sentence(path)} |"
    yield ""


def _sentence(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
