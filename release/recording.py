"""What the first commands of README say, as the text of a terminal in an SVG: `make recording`.

It is what the commands said on stdout in this run, in the colours that a terminal gets.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

COMMANDS = (
    "repro run data=digits --method cg --method lissa --method grad_dot output_dir=outputs/demo",
    "repro report data=digits output_dir=outputs/demo --quiet",
    "repro check outputs/demo",
)
COLUMNS = 112
TITLE = "repro: influence functions against leave-one-out retraining"

# Rich's own template but for its fonts, which it would fetch: every viewer has a monospaced one.
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def record(commands: Sequence[str]) -> list[tuple[str, str]]:
    """Run each, one after the other in one empty folder: the command and what a terminal would show of it.

    Raises:
        subprocess.CalledProcessError: a command did not end with 0; it has said why.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "PATH": path}
    shown = []
    with tempfile.TemporaryDirectory(prefix="recording-") as folder:
        for command in commands:
            # Progress goes to stderr, and is not recorded.
            ended = subprocess.run(
                shlex.split(command),
                check=True,
                cwd=folder,
                env=os.environ | terminal,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
            shown.append((command, ended.stdout))
    return shown


def draw(shown: Sequence[tuple[str, str]]) -> str:
    """The SVG of commands and what they said."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    for command, said in shown:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        if said.strip():
            console.print(Text.from_ansi(said.rstrip("\n")))
    # The picture ends within its last line.
    console.print()
    svg = console.export_svg(title=TITLE, theme=DIMMED_MONOKAI, unique_id="first-run")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    # The words for those who do not see the picture.
    words = f'<svg role="img" aria-label="{TITLE}"'
    return svg.replace("Fira Code, monospace", FONT).replace("<svg", words, 1)


def main(target: Path) -> None:
    """Record the first commands into a file."""
    target.write_text(draw(record(COMMANDS)), encoding="utf-8")
    sys.stdout.write(f"wrote {target}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
