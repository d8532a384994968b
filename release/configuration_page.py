"""Makes docs/configuration.md of the schema and the YAML files.

`python -m release.configuration_page > docs/configuration.md` writes it; a test says when it is not current.
"""

import functools
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from erm.settings import Setting, schema_of, settings_of_class
from repro.configuration.declared import declared
from repro.configuration.files import CONFIG_FOLDER as FOLDER
from repro.configuration.schema import Top, settings_of_group

COMMAND = "python -m release.configuration_page > docs/configuration.md"
HEAD = f"""# Configuration

What every command reads, and what each key means. This page is made of the schema and the YAML files
of `configs/` by `{COMMAND}`.

**Keys.** Any key can be given a value after any command, as `GROUP.KEY=VALUE`. Quote what the shell
would take for itself, such as `'test_index=[3,14]'`. `null` stands for nothing. `repro config
KEY=VALUE …` prints what comes of it. An unknown key, and a value of the wrong type or out of range, is
refused before any work starts. All numbers are finite.

**Groups.** A group is a folder of files to choose from: `data=digits` takes `configs/data/digits.yaml`,
and keys are then set on top of it. `--method cg` is `influence=cg`. `repro config --groups` lists all
choices, also those in a folder of your own ([extending](extending.md)).

**What determines θ̂** is `data`, `model` and `fit`: all their keys but `data.root`. They are hashed
into the name of the run folder, `outputs/DATA-MODEL-HASH`, so that other values never mix with what is
there. Of `data.path` the content of the file counts, not how the path was typed.
With `output_dir=FOLDER` it has another name, and is held to the same configuration. All other
keys may change from command to command.

**Defaults** are those of the file chosen. Where several files of a group have a key, they stand behind
it.
"""
ABOUT = {
    "data": "The examples.",
    "model": "What is trained, as the empirical risk R(θ).",
    "fit": "How θ̂ is found.",
    "influence": "The methods: how s_test = (H + damping·I)⁻¹∇ℓ(z_test, θ̂) is found.",
    "retrain": "Which leave-one-out models are solved, and how.",
    "plot": "How the figures look.",
    "compare": "What `repro compare` runs, such as `repro compare "
    "'compare.settings=[cg,\"lissa depth=20000\"]'`: a method each, and the settings that are to be others.",
    "experiment": "Several choices and keys under one name: `experiment=NAME`. None is chosen by default.",
}
TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def page() -> str:
    """The whole page, in Markdown."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        return "\n".join([HEAD, *(_group(name) for name in _groups()), _top()])


def allowed(schema: dict[str, Any]) -> str:
    """Type and range of a key in words, from its JSON schema."""
    if "anyOf" in schema:
        return ", or ".join(dict.fromkeys(allowed(choice) for choice in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "null":
        return "`null`"
    if kind == "array":
        fewest = " (at least one)" if schema.get("minItems") else ""
        return f"list of {allowed(schema.get('items', {})).replace('number', 'numbers')}{fewest}"
    if kind == "object":
        return f"mapping from text to {allowed(schema.get('additionalProperties', {}))}"
    bounds = [f"{sign} {_number(schema[name])}" for name, sign in BOUNDS.items() if name in schema]
    return " ".join([TYPES.get(str(kind), "any value"), " and ".join(bounds)]).strip()


def _groups() -> list[str]:
    found = {path.parent.name for path in FOLDER.glob("*/*.yaml")}
    return [name for name in ABOUT if name in found] + sorted(found - ABOUT.keys())


def _group(group: str) -> str:
    """Heading, choices, keys."""
    files = {path.stem: path for path in sorted((FOLDER / group).glob("*.yaml"))}
    opening = _opening(group, files)
    if group == "experiment":
        return "\n".join([*opening, *_experiments(files)])
    defaults = {name: _composed(f"{group}={name}")[group] for name in files}
    schemas = {
        name: _schema(settings_of_group(group) or declared(values["_target_"]))
        for name, values in defaults.items()
    }
    rows = _rows(group, schemas, defaults)
    return "\n".join([*opening, *_table("key", "allowed", "default", "meaning", rows=rows)])


def _opening(group: str, files: dict[str, Path]) -> Iterator[str]:
    """The heading and the choices, the one taken by default marked."""
    taken = {
        f"{name}={choice}"
        for entry in _root()["defaults"]
        if entry != "_self_"
        for name, choice in entry.items()
    }
    yield f"## {group}\n"
    if group in ABOUT:
        yield f"{ABOUT[group]}\n"
    choices = {f"{group}={name}": _comment(path) for name, path in files.items()}
    rows = [
        (f"`{choice}`" + (" (default)" if choice in taken else ""), said) for choice, said in choices.items()
    ]
    yield from _table("choice", "what it is", rows=rows)


def _rows(
    group: str, schemas: dict[str, dict[str, Any]], defaults: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, ...]]:
    """A row for each key and meaning."""
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for name, schema in schemas.items():
        for key, described in schema.items():
            seen.setdefault((key, json.dumps(described)), {})[name] = _default(defaults[name][key])
    for (key, text), by_name in seen.items():
        described, dotted = json.loads(text), f"{group}.{key}" if group else key
        default = _by_choice(by_name, everyone=len(schemas))
        yield f"`{dotted}`", allowed(described), default, _cell(described.get("description", ""))


def _by_choice(defaults: dict[str, str], everyone: int) -> str:
    """Each default once, with the choices that have it, unless all do."""
    choices: dict[str, list[str]] = {}
    for name, value in defaults.items():
        choices.setdefault(value, []).append(name)
    if len(choices) == 1 and len(defaults) == everyone:
        return next(iter(choices))
    return "<br>".join(f"{value} ({', '.join(names)})" for value, names in choices.items())


def _top() -> str:
    # A data set may set them.
    names = [f"data={path.stem}" for path in sorted(FOLDER.glob("data/*.yaml"))]
    trees = {name: _composed(name) for name in names}
    rows = _rows("", dict.fromkeys(trees, _schema(settings_of_class(Top))), trees)
    opening = ["## Keys outside the groups\n"]
    return "\n".join([*opening, *_table("key", "allowed", "default", "meaning", rows=rows)])


def _experiments(files: dict[str, Path]) -> Iterator[str]:
    rows = []
    for name, path in files.items():
        values = _read(path)
        chosen = [
            f"{key.removeprefix('override /')}={choice}"
            for entry in values.pop("defaults", [])
            for key, choice in entry.items()
        ]
        rows.append((f"`{name}`", " ".join(f"`{text}`" for text in [*chosen, *_dotted(values)])))
    yield from _table("experiment", "sets", rows=rows)


def _dotted(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def _table(*titles: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = [" | ".join(row) for row in rows]
    if lines:
        yield f"| {' | '.join(titles)} |"
        yield f"|{'---|' * len(titles)}"
        yield from (f"| {line} |" for line in lines)
        yield ""


def _schema(settings: dict[str, Setting]) -> dict[str, Any]:
    """The JSON schema of every key, less the titles that pydantic adds. The files have the defaults."""
    made = schema_of({key: Setting(annotation=setting.annotation) for key, setting in settings.items()})
    properties: dict[str, Any] = TypeAdapter(made).json_schema().get("properties", {})
    return {key: {k: v for k, v in found.items() if k != "title"} for key, found in properties.items()}


@functools.cache
def _composed(override: str) -> dict[str, Any]:
    """The whole tree under one override, as the package's own files make it."""
    # Not resolved: the page shows that a default comes from the environment, not what it is here.
    tree: Any = OmegaConf.to_container(compose("config", overrides=[override]), resolve=False)
    return dict(tree)


def _root() -> dict[str, Any]:
    return _read(FOLDER / "config.yaml")


def _read(path: Path) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return dict(values)


def _comment(path: Path) -> str:
    """The comment that a file starts with, unless it is that of its first key."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    first_key = lines[len(head)].partition(":")[0]
    if first_key in (settings_of_group(path.parent.name) or {}):
        return "the values below"
    return _cell(" ".join(line.removeprefix("# ") for line in head if not line.startswith("# @")))


def _default(value: Any) -> str:
    if value == "???":
        return "to be given"
    if isinstance(value, dict):
        return "<br>".join(f"{key}: {_cell(str(text))}" for key, text in value.items())
    if isinstance(value, list):
        return "<br>".join(f"`{text}`" for text in value) or "`[]`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _number(value: float) -> str:
    return "2⁶³" if value == 2**63 else f"{value:g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
