"""Whether the files of a run folder are as they were written, and its page is of its table."""

import re
from collections.abc import Iterable
from fnmatch import fnmatch

from diagnosis.verdict import Verdict
from repro.folder.manifest import Manifest, file_checksum, read_manifest
from repro.folder.paths import RunFolder
from retrain.weight_file import WeightFileError, read_weights
from retrain.weights import WeightCache

MADE_BY = {
    "lds.json": "lds",
    "diagnosis.json": "diagnose",
    "plots/spectrum.*": "diagnose",
    "compare.csv": "compare",
    "plots/compare.*": "compare",
    "score.json": "score",
    "score.csv": "score",
    "report.html": "report",
}
"""The command that makes a result anew, where it is not `repro run`."""
NOT_AGAIN = ("diagnosis.json", "compare.csv", "score.json", "score.csv")
"""Results that `repro check` holds against their checksums alone."""


def only_checksums(folder: RunFolder) -> list[str]:
    """Those of `NOT_AGAIN` that are there."""
    return [name for name in NOT_AGAIN if (folder.path / name).exists()]


def remedy_for(names: Iterable[str]) -> str:
    """What makes damaged or missing results again, by the command that does it."""
    by_command: dict[str, list[str]] = {}
    for name in names:
        found = (command for pattern, command in MADE_BY.items() if fnmatch(name, pattern))
        by_command.setdefault(next(found, "run"), []).append(name)
    rest = by_command.pop("run", [])
    parts = [
        f"`repro {command}` as before makes {' and '.join(made)} again"
        for command, made in by_command.items()
    ]
    if rest:
        what = "the rest" if parts else "what is damaged"
        parts.insert(0, f"`repro run` with the same configuration sets aside {what} and makes it again")
    return "; ".join(parts)


def check_files(folder: RunFolder) -> Verdict:
    """Every file has the content it was written with."""
    manifest: Manifest | None = read_manifest(folder)
    if manifest is None:
        return Verdict(check="files", passed=False, evidence=f"{folder.manifest} is damaged")
    # Drawings are for people; whoever removes one misses nothing that follows from it.
    missing = [
        name for name in manifest if not (folder.path / name).exists() and not _is_drawing(folder, name)
    ]
    changed = [
        name
        for name, known in manifest.items()
        if (folder.path / name).exists() and file_checksum(folder.path / name) not in known
    ]
    weights, models = WeightCache(folder.weights, "", lambda _: None).files(), 0
    for path in weights:
        try:
            models += len(read_weights(path)[1].removals)
        except WeightFileError as error:
            changed.append(f"{path.name} ({error})")
    return Verdict(
        check="files",
        passed=not changed and not missing,
        evidence=(
            f"{len(manifest)} results and {len(weights)} weight files with {models} models are as written"
            if not changed and not missing
            else f"not as written: {', '.join(changed) or 'none'}; missing: {', '.join(missing) or 'none'}"
        ),
        remedy=remedy_for([*changed, *missing]),
    )


def _is_drawing(folder: RunFolder, name: str) -> bool:
    return folder.path / name == folder.report or (folder.path / name).parent == folder.figures


def shows_another_table(folder: RunFolder) -> bool:
    """Whether there is a page, and it was made from another table than that of points or groups now."""
    if not folder.report.exists():
        return False
    page = folder.report.read_text("utf-8", errors="replace")
    shown = re.search(r'<meta name="table" content="([0-9a-f]{64})">', page)
    tables = [path for path in (folder.table, folder.groups) if path.exists()]
    return shown is None or shown[1] not in map(file_checksum, tables)


def check_page(folder: RunFolder) -> list[Verdict]:
    """Whether the page, if there is one, shows the table as it is now."""
    if not folder.report.exists():
        return []
    same = not shows_another_table(folder)
    return [
        Verdict(
            check="page",
            passed=same,
            evidence=f"{folder.report.name} shows {'this table' if same else 'another table'}",
            remedy="" if same else "run `repro report` with the overrides of the table",
        )
    ]
