"""Scenario files: YAML into `Scenario`, refused with file, line and what is allowed."""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from edge_perception.core.errors import ConfigurationError, UnknownNameError
from edge_perception.simulation.scenario import Scenario, ScenarioError

LIBRARY = Path(__file__).parent / "scenarios"
_NAMES = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}


def scenario_names() -> list[str]:
    """Return the names of the scenarios that come with the package."""
    return sorted(path.stem for path in LIBRARY.glob("*.yaml"))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Return a scenario by the name it has in the library, or from a file.

    Raises:
        UnknownNameError: The library has no scenario of this name; the text lists what it has.
        ConfigurationError: The file cannot be read, or a field is unknown, of the wrong type, out
            of range or contradicts another; the text names file, line and what is allowed.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = LIBRARY / f"{name_or_path}.yaml"
        if not path.is_file():
            raise UnknownNameError(kind="scenario", name=str(name_or_path), known=scenario_names())
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    return parse_scenario(text, source=str(path), name=path.stem)


def parse_scenario(text: str, *, source: str, name: str) -> Scenario:
    """Return the scenario of a YAML text.

    Args:
        text: The YAML.
        source: What errors call the text, usually the file.
        name: Name of the scenario where the text gives none.

    Raises:
        ConfigurationError: As for `load_scenario`.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(f"{source}:{line}: not valid YAML: {reason}") from error
    reader = _Reader(source)
    if root is None:
        raise ConfigurationError(f"{source}:1: the file is empty; expects a mapping of fields")
    values = reader.mapping(Scenario, root, "")
    values.setdefault("name", name)
    try:
        return Scenario(**values)
    except ScenarioError as error:
        line = reader.line_of(error.where)
        raise ConfigurationError(f"{source}:{line}: {error}") from error


class _Reader:
    """Turns YAML nodes into field values and remembers the line of each."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: dict[str, int] = {}

    def line_of(self, where: str) -> int:
        """Return the line of a dotted field, or of the nearest field around it."""
        while where and where not in self._lines:
            cut = max(where.rfind("."), where.rfind("["))
            where = where[: max(cut, 0)]
        return self._lines.get(where, 1)

    def _fail(self, node: yaml.Node, text: str) -> ConfigurationError:
        return ConfigurationError(f"{self._source}:{node.start_mark.line + 1}: {text}")

    def mapping(self, cls: type, node: yaml.Node, where: str) -> dict[str, Any]:
        """Return the values of a dataclass from a mapping node."""
        label = where or "the scenario"
        if not isinstance(node, yaml.MappingNode):
            raise self._fail(node, f"{label}: expects a mapping of fields")
        self._lines[where] = node.start_mark.line + 1
        hints = typing.get_type_hints(cls)
        known = [item.name for item in fields(cls)]
        values: dict[str, Any] = {}
        for key, value in node.value:
            field = str(key.value)
            if field not in known:
                raise self._fail(
                    key, f"{label}: unknown field '{field}'; allowed: {', '.join(known)}"
                )
            if field in values:
                raise self._fail(key, f"{label}: field '{field}' is given twice")
            path = f"{where}.{field}" if where else field
            self._lines[path] = value.start_mark.line + 1
            values[field] = self._value(hints[field], value, path)
        return values

    def _value(self, hint: Any, node: yaml.Node, where: str) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (types.UnionType, typing.Union):
            if node.tag == "tag:yaml.org,2002:null":
                return None
            return self._value(next(a for a in arguments if a is not type(None)), node, where)
        if is_dataclass(hint) and isinstance(hint, type):
            values = self.mapping(hint, node, where)
            try:
                return hint(**values)
            except TypeError:
                missing = [f.name for f in fields(hint) if f.name not in values]
                raise self._fail(node, f"{where}: missing field(s) {', '.join(missing)}") from None
        if origin is tuple:
            return self._sequence(arguments, node, where)
        return self._scalar(hint, node, where)

    def _sequence(self, arguments: tuple[Any, ...], node: yaml.Node, where: str) -> tuple:
        open_ended = len(arguments) == 2 and arguments[1] is Ellipsis
        if arguments == (int, int) and isinstance(node, yaml.ScalarNode):
            number = self._scalar(int, node, where)  # a fixed count
            return number, number
        if not isinstance(node, yaml.SequenceNode):
            raise self._fail(node, f"{where}: expects a list")
        if not open_ended and len(node.value) != len(arguments):
            raise self._fail(
                node, f"{where}: expects {len(arguments)} values, got {len(node.value)}"
            )
        hints = [arguments[0]] * len(node.value) if open_ended else list(arguments)
        items = []
        for index, (hint, item) in enumerate(zip(hints, node.value, strict=True)):
            path = f"{where}[{index}]"
            self._lines[path] = item.start_mark.line + 1
            items.append(self._value(hint, item, path))
        return tuple(items)

    def _scalar(self, hint: type, node: yaml.Node, where: str) -> Any:
        expected = _NAMES[hint]
        if not isinstance(node, yaml.ScalarNode):
            raise self._fail(node, f"{where}: expects {expected}")
        value = yaml.safe_load(node.value) if node.style is None else node.value
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if hint is str and node.style is None and not isinstance(value, str):
            raise self._fail(node, f"{where}: expects {expected}, got '{node.value}'")
        if type(value) is not hint:
            raise self._fail(node, f"{where}: expects {expected}, got '{node.value}'")
        return value
