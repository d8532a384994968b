"""Install the wheel where the source is not, and make the figure on digits with it: `make wheel`."""

import sys
from pathlib import Path

from release.clean_room import METHODS, PROJECT, Room, clean_room

CHECK = """
import json
import pathlib
import cli
import repro

for package in (cli, repro):
    assert "site-packages" in package.__file__, package.__file__
summary = json.loads(pathlib.Path("outputs/demo/summary.json").read_text(encoding="utf-8"))
assert set(summary["methods"]) == set(METHODS), summary
assert summary["methods"]["cg"]["pearson"] > 0.9999, summary
assert summary["max_certificate"] < 1e-5, summary
assert "exact" in pathlib.Path("outputs/demo/report.html").read_text(encoding="utf-8")
"""


def try_wheel(room: Room, wheel: Path) -> None:
    """Install it with the exact versions of constraints.txt; run, report and check on digits; `--version`."""
    room.run(["pip", "install", "-q", "-c", str(PROJECT / "constraints.txt"), str(wheel)])
    methods = [word for name in METHODS for word in ("--method", name)]
    room.run(["repro", "run", "data=digits", *methods, "output_dir=outputs/demo"])
    room.run(["repro", "report", "data=digits", "output_dir=outputs/demo"])
    room.run(["repro", "check", "outputs/demo"])
    room.run(["python", "-c", CHECK.replace("METHODS", repr(METHODS))])
    room.run(["repro", "--version"])


def main(folder: Path) -> None:
    """Try the one wheel in the folder."""
    (wheel,) = folder.absolute().glob("*.whl")
    with clean_room() as room:
        try_wheel(room, wheel)
    sys.stdout.write(f"{wheel.name} works where the source is not\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
