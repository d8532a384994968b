"""Why predictions are older than what was asked for, or than this version of the tool, in words."""

from collections.abc import Mapping
from typing import Any

from repro.records.influence import InfluenceRecord
from repro.version import tool_version


def age_in_words(record: InfluenceRecord) -> str:
    """Sentences without the last full stop; empty where the predictions are not old."""
    method, when, by = record.method, f"made {record.written.moment()}", record.written.version
    sentences = []
    if record.failed_since is not None:
        different = different_settings(record.failed_since.settings, record.settings)
        asked = f" with {' '.join(different)}" if different else ""
        sentences.append(
            f"{method}: these predictions are old, {when}: a later request{asked} failed and left them as "
            "they were"
        )
    if by != tool_version():
        whose = "an earlier version" if by is None else f"version {by}"
        sentences.append(
            f"{method}: these predictions are of {whose} of this tool, {when}; this is {tool_version()}"
        )
    return ". ".join(sentences)


def different_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """influence.KEY=VALUE for each setting of one that is not so in the other."""
    return [f"influence.{key}={value}" for key, value in one.items() if other.get(key) != value]
