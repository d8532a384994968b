"""How a setting is declared: once, where it is used, as type, range, meaning and default.

    tolerance: Annotated[float, Field(gt=0, lt=1, description="true relative residual to reach")] = 1e-8

A field of a class or a parameter of a function that is annotated so is a setting. The class holds its values
to the declaration by `check_settings`; the command line holds a configuration to the same one, which it reads
from the source (`repro/configuration/declared.py`), and the page of all keys is made of it.
"""

import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic
from pydantic import ConfigDict, Field, ValidationError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]

REQUIRED = ...
"""In place of a default where there is none."""
STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is declared of a setting."""

    annotation: Any
    """Its type, annotated with range and meaning."""
    default: Any = REQUIRED


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A value that is not as declared."""

    key: str
    value: Any
    expected: str
    """In words; empty where there is no such setting."""


def is_setting(annotation: Any) -> bool:
    """Whether an annotation declares one: whether it says what it means."""
    metadata = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    return any(getattr(found, "description", None) for found in metadata)


def settings_of_class(kind: type) -> dict[str, Setting]:
    """The settings that a dataclass declares."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        field.name: Setting(annotation=hints[field.name], default=_default(field))
        for field in dataclasses.fields(kind)
        if is_setting(hints[field.name])
    }


def schema_of(settings: Mapping[str, Setting]) -> type:
    """A class that pydantic makes of values which are as declared, and of no others."""
    made = dataclasses.make_dataclass("Settings", [_field(*item) for item in settings.items()], kw_only=True)
    return pydantic.dataclasses.dataclass(made, config=STRICT)


def faults_of(error: ValidationError) -> Iterator[Fault]:
    """What such a class had against values."""
    for fault in error.errors():
        unknown, missing = (fault["type"] == kind for kind in ("unexpected_keyword_argument", "missing"))
        expected = "" if unknown else "a value" if missing else _expected(fault)
        value = "(absent)" if missing else fault["input"]
        yield Fault(key=str(fault["loc"][0]), value=value, expected=expected)


def _expected(fault: Any) -> str:
    """What a value should have been, in pydantic's words but where these are about its own types."""
    if counted := {"too_short": "item", "string_too_short": "character"}.get(fault["type"]):
        least = fault["ctx"]["min_length"]
        return f"at least {least} {counted}{'' if least == 1 else 's'}"
    return str(fault["msg"]).replace("Input should be ", "")


def check_settings(made: Any, group: str) -> None:
    """Raise ValueError unless every setting of a dataclass instance is as its class declares it.

    Args:
        group: what the settings are keys of, for the message: such as influence.
    """
    kind: Any = type(made)
    schema = schema_of_class(kind)
    try:
        schema(**{field.name: getattr(made, field.name) for field in dataclasses.fields(schema)})
    except ValidationError as error:
        said = (f"{group}.{fault.key}={fault.value}: expected {fault.expected}" for fault in faults_of(error))
        raise ValueError("\n".join(dict.fromkeys(said))) from error


@functools.cache
def schema_of_class(kind: Any) -> Any:
    """Such a class of what a dataclass declares."""
    return schema_of(settings_of_class(kind))


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED if field.default is dataclasses.MISSING else field.default


def _field(name: str, setting: Setting) -> tuple[str, Any, Any]:
    if setting.default is REQUIRED:
        return name, setting.annotation, dataclasses.field()
    return name, setting.annotation, dataclasses.field(default_factory=lambda: setting.default)
