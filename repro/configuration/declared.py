"""The settings that a `_target_` declares, read from its source.

The classes live in modules that import torch, which takes longer than everything else that a usage error or
`repro config` needs. So nothing is imported: the annotations of a class or function are parsed and evaluated,
and a name in them is looked up in the same way, in its module or in the one that it is imported from there.
"""

import ast
import functools
import importlib
import operator
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from erm.settings import Setting, is_setting

LIGHT = frozenset({"annotated_types", "collections", "dataclasses", "math", "pathlib", "pydantic", "typing"})
"""Packages that annotations take words from, and that are imported to have them."""
BUILTINS = {kind.__name__: kind for kind in (bool, int, float, str, list, dict, tuple)}
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.BitOr: operator.or_,
}  # fmt: skip
Definition = ast.ClassDef | ast.FunctionDef


class UnreadableError(Exception):
    """A name or an expression that cannot be known without running the module."""


def declared(target: str) -> dict[str, Setting]:
    """The settings of a target, by name, in their order; none where its source does not say.

    Args:
        target: dotted name of a class or a function.
    """
    module, _, name = target.rpartition(".")
    try:
        source = _source(module)
        definition = source.definition(name)
    except UnreadableError:
        return {}
    found = {}
    for key, annotation, default in _annotated(definition):
        try:
            hint = source.evaluate(annotation)
        except UnreadableError:
            continue
        if is_setting(hint):
            found[key] = _setting(source, hint, default)
    return found


def _setting(source: "_Source", hint: Any, default: ast.expr | None) -> Setting:
    if default is None:
        return Setting(annotation=hint)
    try:
        return Setting(annotation=hint, default=source.evaluate(default))
    except UnreadableError:
        # There is one, and it is not needed here.
        return Setting(annotation=hint, default=None)


def _annotated(definition: Definition) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
    """Name, annotation and default of every field of a class or parameter of a function."""
    if isinstance(definition, ast.ClassDef):
        for line in definition.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                yield line.target.id, line.annotation, line.value
        return
    arguments = definition.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    for argument, default in [
        *zip(positional, defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]:
        if argument.annotation is not None:
            yield argument.arg, argument.annotation, default


class _Source:
    """A module's text, of which nothing is run but the expressions asked for."""

    def __init__(self, name: str, path: Path) -> None:
        try:
            self.body = ast.parse(path.read_text(encoding="utf-8")).body
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableError(name) from error

    def definition(self, name: str) -> Definition:
        for line in self.body:
            if isinstance(line, ast.ClassDef | ast.FunctionDef) and line.name == name:
                return line
        raise UnreadableError(name)

    def evaluate(self, expression: ast.expr) -> Any:
        try:
            return self._value_of(expression)
        except UnreadableError:
            raise
        except Exception as error:
            raise UnreadableError(ast.unparse(expression)) from error

    def _value_of(self, node: ast.expr) -> Any:
        """Of the few forms that annotations have; of calls, only those of a name, such as `Field(gt=0)`."""
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(name):
                return self.value(name)
            case ast.Attribute(ast.Name(name), attribute) if not attribute.startswith("_"):
                return getattr(self.value(name), attribute)
            case ast.Subscript(whole, part):
                return self._value_of(whole)[self._value_of(part)]
            case ast.Tuple(parts):
                return tuple(map(self._value_of, parts))
            case ast.List(parts):
                return list(map(self._value_of, parts))
            case ast.UnaryOp(ast.USub(), operand):
                return -self._value_of(operand)
            case ast.BinOp(left, sign, right) if type(sign) in OPERATORS:
                return OPERATORS[type(sign)](self._value_of(left), self._value_of(right))
            case ast.Call(function, arguments, keywords):
                named = {str(keyword.arg): self._value_of(keyword.value) for keyword in keywords}
                return self._value_of(function)(*map(self._value_of, arguments), **named)
        raise UnreadableError(ast.unparse(node))

    def value(self, name: str) -> Any:
        """What a name stands for at the top of the module."""
        for line in self.body:
            if isinstance(line, ast.Assign) and any(_is_name(target, name) for target in line.targets):
                return self.evaluate(line.value)
            if isinstance(line, ast.ImportFrom) and line.module and not line.level:
                for alias in line.names:
                    if name == (alias.asname or alias.name):
                        return _imported(line.module, alias.name)
            if isinstance(line, ast.Import):
                for alias in line.names:
                    if name == (alias.asname or alias.name) and alias.name.partition(".")[0] in LIGHT:
                        return importlib.import_module(alias.name)
        if name in BUILTINS:
            return BUILTINS[name]
        raise UnreadableError(name)


def _is_name(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name


def _imported(module: str, name: str) -> Any:
    if module.partition(".")[0] in LIGHT:
        return getattr(importlib.import_module(module), name)
    return _source(module).value(name)


def _source(module: str) -> _Source:
    """A module, found as an import finds it, with no package run on the way."""
    path: list[str] | None = None
    spec = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), path)
        if spec is None:
            raise UnreadableError(module)
        path = list(spec.submodule_search_locations or [])
    if spec is None or not spec.has_location or not str(spec.origin).endswith(".py"):
        raise UnreadableError(module)
    path_found = Path(str(spec.origin))
    return _read(module, path_found, path_found.stat().st_mtime_ns)


@functools.cache
def _read(module: str, path: Path, changed: int) -> _Source:
    return _Source(module, path)
