"""What a sweep's command line asks for: the values of each key, checked without importing torch."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins

from repro.configuration.compose import Config, compose_methods, parse_overrides, refuse_moved_keys
from repro.configuration.files import own_folder
from repro.configuration.mistakes import LISTS, no_launcher
from repro.errors import UsageError
from repro.folder.naming import check_writable
from repro.folder.paths import RunFolder

LAUNCHER = "hydra/launcher"
OWN_KEYS = ("output_dir", "experiment")
KEY = "test_index"
UNRESOLVED: Final = "misclassified"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a command line lets each key be, in its order: the runs are the cross product."""

    keys: tuple[str, ...]
    overrides: tuple[tuple[str, ...], ...]
    """KEY=VALUE for each value of each key."""
    typed: list[str] = field(default_factory=list)
    """The overrides as they were typed, Hydra's own too."""
    methods: list[str] = field(default_factory=list)
    """Of every run."""
    configs: tuple[Config, ...] = field(default=(), repr=False)
    """Each value of each key beside the first values of the others, by each method."""

    @property
    def swept(self) -> dict[str, list[str]]:
        """The keys of several values, and these."""
        pairs = zip(self.keys, self.overrides, strict=True)
        return {key: [text.split("=", 1)[1] for text in texts] for key, texts in pairs if len(texts) > 1}

    def runs(self) -> list[list[str]]:
        """The overrides of each run, numbered as Hydra's sweeper does."""
        return [list(values) for values in itertools.product(*self.overrides)]

    def name(self, run: list[str]) -> str:
        """A run by what is particular about it."""
        return " ".join(text for key, text in zip(self.keys, run, strict=True) if key in self.swept)

    @property
    def description(self) -> str:
        """How many runs there are, of which values and methods; a part of a sentence."""
        values = " × ".join(f"{key}={','.join(texts)}" for key, texts in self.swept.items())
        return f"{len(self.runs())} runs ({values}), each by {' and '.join(dict.fromkeys(self.methods))}"


def choices_of(overrides: list[str], methods: list[str], out: Path | None = None) -> Choices:
    """What is swept over, after every value of each key was checked beside the first values of the others.

    Args:
        overrides: KEY=VALUE, and KEY=a,b,c for what is swept over; hydra/launcher=… goes to Hydra.
        methods: of every run.
        out: the folder that is asked for.

    Raises:
        UsageError: an override or the folder is wrong, or nothing is swept over.
    """
    _check_folder(out)
    refuse_moved_keys(overrides)
    parsed = [found for found in parse_overrides(overrides) if not _is_hydras(found)]
    for found in parsed:
        if found.key_or_group in OWN_KEYS:
            raise UsageError(f"{found.input_line}: not in a sweep, which names its folders itself (--out)")
    _check_launcher(overrides)
    _refuse_lists(parsed)
    values = tuple(tuple(_values(found)) for found in parsed)
    choices = Choices(
        keys=tuple(str(found.key_or_group) for found in parsed),
        overrides=values,
        typed=overrides,
        methods=methods,
        configs=tuple(_checked(values, methods)),
    )
    _check_swept(choices)
    return choices


def _checked(values: tuple[tuple[str, ...], ...], methods: list[str]) -> list[Config]:
    first = [texts[0] for texts in values]
    return [
        config
        for position, texts in enumerate(values)
        for text in texts
        for config in compose_methods([*first[:position], text, *first[position + 1 :]], methods)
    ]


def _check_swept(choices: Choices) -> None:
    if UNRESOLVED in choices.swept.get(KEY, []):
        raise UsageError(f"{KEY}: {UNRESOLVED} is no value to sweep over; name points, such as {KEY}=3,14")
    if not choices.swept:
        raise UsageError(
            "nothing to sweep over: give at least one KEY=a,b,c, such as model.l2=0.001,0.01,0.1"
        )


def _refuse_lists(parsed: list[Override]) -> None:
    """A list is one value; where nothing is swept over, several were perhaps meant."""
    if any(found.is_sweep_override() for found in parsed):
        return
    for found in parsed:
        if isinstance(value := found.value(), list) and found.key_or_group not in LISTS:
            written = f"{found.key_or_group}={','.join(map(str, value))}"
            raise UsageError(f"{found.input_line}: a sweep takes several values without brackets: {written}")


def _check_folder(out: Path | None) -> None:
    if out is None:
        return
    check_writable(out, "--out ")
    if RunFolder(out).manifest.exists():
        raise UsageError(f"--out {out}: {out} is a run folder; name another, such as {out / 'sweep'}")


def _check_launcher(overrides: list[str]) -> None:
    """Refuse a launcher that is not installed, which Hydra would do in many lines."""
    Plugins.instance()  # registers what is installed
    own = own_folder()
    files = [] if own is None else (own / "hydra" / "launcher").glob("*.yaml")
    known = {name.removesuffix(".yaml") for name in ConfigStore.instance().list(LAUNCHER)}
    known |= {path.stem for path in files}
    for found in parse_overrides(overrides):
        if found.key_or_group == LAUNCHER and str(found.value()) not in known:
            raise UsageError(no_launcher(str(found.value()), sorted(known)))


def _values(override: Override) -> list[str]:
    """KEY=VALUE for each value."""
    if not override.is_sweep_override():
        assert override.input_line is not None
        return [override.input_line]
    return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]


def _is_hydras(override: Override) -> bool:
    return override.key_or_group.split("/")[0].split(".")[0] == "hydra"
