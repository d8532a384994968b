"""When and by which version predictions were made, and which later request for them failed.

influence/METHOD.json says it in two keys that no result depends on; records of earlier versions lack them.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from repro.folder.paths import RunFolder
from repro.problem import PROJECT

WRITTEN = "written"
FAILED_SINCE = "failed_since"


def now() -> dict[str, str]:
    """Time and version, as a record keeps them."""
    return {"time": datetime.now(UTC).isoformat(timespec="seconds"), "version": version(PROJECT)}


def age_in_words(folder: RunFolder, method: str) -> str:
    """Why a table is older than what was asked for, or than this version; empty where it is not."""
    content = _content(folder, method)
    written, failed = content.get(WRITTEN), content.get(FAILED_SINCE)
    when = f"made {_moment(written)}"
    sentences = []
    if isinstance(failed, Mapping):
        asked = _words(failed.get("settings"), than=content.get("settings"))
        sentences.append(
            f"{method}: these predictions are old, {when}: a later request{asked} failed and left them as "
            "they were"
        )
    by = written.get("version") if isinstance(written, Mapping) else None
    if by != version(PROJECT):
        whose = "an earlier version" if by is None else f"version {by}"
        sentences.append(
            f"{method}: these predictions are of {whose} of this tool, {when}; this is {version(PROJECT)}"
        )
    return ". ".join(sentences)


def moment_in_words(folder: RunFolder, method: str) -> str:
    """When the predictions were made, to the minute."""
    return _moment(_content(folder, method).get(WRITTEN))


def different_settings(one: object, other: object) -> list[str]:
    """influence.KEY=VALUE for each setting of one that is not so in the other."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return []
    return [f"influence.{key}={value}" for key, value in one.items() if other.get(key) != value]


def _words(settings: object, than: object) -> str:
    different = different_settings(settings, than)
    return f" with {' '.join(different)}" if different else ""


def _moment(written: Any) -> str:
    try:
        moment = datetime.fromisoformat(written["time"])
    except (TypeError, KeyError, ValueError):
        return "at a time that is not recorded"
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _content(folder: RunFolder, method: str) -> dict[str, Any]:
    try:
        content = json.loads(folder.influence_record(method).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
