"""Which code a file in a run folder may name: what this tool ships, and what the user says to trust.

A run folder may be a stranger's, and `_target_` names what is called. So the names in it are held against a
list of what may be called, never against one of what may not. A name that stands on the user's own command
line, or in the user's own configuration files, is the user's and is not held against anything.

--trust-code MODULE, on every command that opens a run folder, adds what a module defines. It is kept in the
environment variable REPRO_TRUST_CODE, which the runs of a sweep inherit. REPRO_CONFIG_DIR=FOLDER, with its
whole path, adds what the modules that lie in that folder define.
"""

import importlib.util
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hydra

from erm.paths import expanded
from repro.configuration.files import VARIABLE as OWN_FOLDER
from repro.configuration.files import make_own_modules_importable, own_folder, shipped_targets
from repro.configuration.schema import EXTERNAL, FIRST_NAMES
from repro.configuration.validation import MADE_OF
from repro.errors import UsageError
from repro.folder.stored_config import StoredConfigError, interpolations, read_stored_config, targets
from repro.printable import printable
from repro.user_code import is_own

VARIABLE = "REPRO_TRUST_CODE"
OPTION = "--trust-code"
SHIPPED = shipped_targets() | frozenset(FIRST_NAMES.values()) | {EXTERNAL}
"""What may always be named: the targets of the package's own YAML files, what some of them were called at
first, and the word for predictions from a file, which names no code."""
NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@contextmanager
def trusting(modules: Sequence[str]) -> Iterator[None]:
    """Trust these modules in the block, here and in the processes that it starts, besides those of before.

    Raises:
        UsageError: one is no name of a module.
    """
    for module in modules:
        if not NAME.fullmatch(module):
            raise UsageError(f"{OPTION} {module}: expected the dotted name of a module, such as my_models")
    before = os.environ.get(VARIABLE)
    if modules:
        os.environ[VARIABLE] = " ".join([*(before or "").split(), *modules])
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def refuse_code_of_others(folder: Path, typed: Collection[str] = ()) -> None:
    """Refuse a run folder whose configuration or records name code that is neither this tool's nor trusted.

    Nothing is imported. A file that cannot be read names nothing, and nothing is made of it.

    Args:
        typed: targets in the configuration that the user has given.

    Raises:
        UsageError: naming target and file, and what to type.
    """
    for path, content in _contents(folder):
        for key, target in targets(content):
            if not _may_be_named(target, typed):
                raise UsageError(f"{path} names code that is not this tool's: {_advice(key, target)}")


def refuse_code_in_disguise(values: dict[str, Any], path: Path) -> None:
    """Refuse a name that leads through trusted code to what others define, such as my_models.os.system.

    Trusted modules are imported for it, nothing is called. To be asked once nothing else is refused, before
    anything is made of the values.

    Args:
        values: a configuration that `refuse_code_of_others` has let pass.
        path: the file that it was read from.

    Raises:
        UsageError: naming target and file, and the module that defines it; also for ${…}.
    """
    for group in MADE_OF:
        for key in interpolations(values.get(group), group):
            raise UsageError(f"{path}: {printable(key)} holds ${{…}}, which this tool never writes")
    make_own_modules_importable()
    for key, target in targets(values):
        if not _may_be_named(target):
            raise UsageError(f"{path} names code that is not this tool's: {_advice(key, target)}")
        if target in SHIPPED:
            continue
        try:
            home = getattr(hydra.utils.get_object(target), "__module__", None)
        except Exception as error:
            raise UsageError(f"{path}: {key}={target} cannot be had: {type(error).__name__}") from error
        if not isinstance(home, str) or not (_is_trusted(f"{home}.") or _lies_in_own_folder(home)):
            raise UsageError(
                f"{path}: {key}={target} is defined in {printable(str(home))}, which is not what you trust. "
                "Nothing of it was called"
            )


def _contents(folder: Path) -> Iterator[tuple[Path, Any]]:
    """What is stored with `_target_` in it, as plain containers."""
    config = folder / "config.yaml"
    with suppress(StoredConfigError):
        yield config, read_stored_config(config)
    for path in sorted((folder / "influence").glob("*.json")):
        try:
            yield path, json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue


def _may_be_named(target: Any, typed: Collection[str] = ()) -> bool:
    if not isinstance(target, str) or not NAME.fullmatch(target):
        return False
    return target in SHIPPED or target in typed or _is_trusted(target) or _lies_in_own_folder(target)


def _is_trusted(target: str) -> bool:
    """Whether a name lies in or beneath a module that the user has named."""
    return any(target.startswith(f"{module}.") for module in os.environ.get(VARIABLE, "").split())


def _lies_in_own_folder(name: str) -> bool:
    """Whether the top-level module of a name would be imported from a file in the own folder.

    A relative path does not count: it is another folder, perhaps the stranger's, wherever the user stands.
    """
    if own_folder() is None or not expanded(os.environ[OWN_FOLDER]).is_absolute():
        return False
    make_own_modules_importable()
    try:
        # Of a top-level name this finds the file and runs nothing.
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None:
        return False
    places = (
        [spec.origin] if spec.has_location and spec.origin else [*(spec.submodule_search_locations or [])]
    )
    return bool(places) and all(is_own(Path(place)) for place in places)


def _advice(key: str, target: Any) -> str:
    """What is named, and what to type if it is known."""
    named = f"{printable(key)}={printable(str(target))}"
    if not isinstance(target, str) or not NAME.fullmatch(target):
        return f"{named}, which is no name of code. Nothing of it was called"
    return (
        f"{named}. Nothing of it was called. If you know and trust that code, add {OPTION} "
        f"{_module(target)}; if it lies in a folder of your own, set {OWN_FOLDER}=FOLDER, with its whole path"
    )


def _module(target: str) -> str:
    """The module in a dotted name, told without importing it: what comes before a class or the last part."""
    parts = target.split(".")
    end = next((i for i, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[: max(end, 1)])
