"""Whether the installed wheel has made the figure on digits with every method: `make wheel` asks it there.

A script of an environment that knows nothing of the source tree, in the folder of the run.
"""

import json
import sys
from pathlib import Path

import cli
import repro


def check(folder: Path, methods: list[str]) -> None:
    """Read what `repro run` and `repro report` wrote; AssertionError shows what is not so."""
    for package in (cli, repro):
        assert "site-packages" in str(package.__file__), package.__file__
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["methods"]) == set(methods), summary
    assert summary["methods"]["cg"]["pearson"] > 0.9999, summary
    assert summary["max_certificate"] < 1e-5, summary
    assert "exact" in (folder / "report.html").read_text(encoding="utf-8")
    sys.stdout.write("the wheel works where the source is not\n")


if __name__ == "__main__":
    check(Path(sys.argv[1]), sys.argv[2:])
