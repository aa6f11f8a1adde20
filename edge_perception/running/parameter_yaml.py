"""ROS parameter files without ROS: the values a node would get, as its dataclasses.

Understood is what the package's own files use: sections named after a node, with or without a
namespace (`/**/fusion`, `/robot/fusion`, `fusion`) or for all nodes (`/**`), and parameters with
dots or nested. A later file wins, as on the command line of a node.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.schema import decode

C = TypeVar("C")
_KEY = "ros__parameters"


class ParameterFiles:
    """Values of several files, by node.

    Args:
        paths: files in the order of a command line.
        overrides: more values, as `node.parameter: value`; they win over the files.

    Raises:
        ConfigurationError: a file cannot be read or is no parameter file.
    """

    def __init__(self, paths: Sequence[Path], overrides: Mapping[str, object] | None = None):
        self._sections = [section for path in paths for section in _sections(path)]
        for name, value in (overrides or {}).items():
            node, _, parameter = name.partition(".")
            if not parameter:
                raise ConfigurationError(f"parameter: expected node.parameter, got '{name}'")
            self._sections.append((node, {parameter: value}))

    def of_node(self, node: str) -> dict[str, object]:
        """Return the values for a node by flat name."""
        values: dict[str, object] = {}
        for pattern, parameters in self._sections:
            if pattern.split("/")[-1] in (node, "**", "*"):
                values.update(parameters)
        return values

    def nodes(self) -> set[str]:
        """Return the names of all nodes the files speak of."""
        return {pattern.split("/")[-1] for pattern, _ in self._sections}


def decode_parameters(
    cls: type[C],
    values: Mapping[str, object],
    where: str,
    *,
    prefix: str = "",
    defaults: Mapping[str, object] | None = None,
) -> C:
    """Build the dataclass a node declares as parameters.

    Args:
        cls: frozen dataclass of scalars and tuples of scalars.
        values: flat parameters of the node; those of other dataclasses are passed over.
        where: name of the node, for messages.
        prefix: for example "camera." for the parameters of one source.
        defaults: defaults that replace or complete the dataclass's own.

    Raises:
        ConfigurationError: a value does not fit.
    """
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    found: dict[str, Any] = dict(defaults or {})
    for name in names:
        if prefix + name in values:
            value = values[prefix + name]
            empty = value is None and typing.get_origin(hints[name]) is tuple
            found[name] = [] if empty else value
    return decode(cls, found, f"{where}.{prefix}".rstrip("."))


def _sections(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: expected a parameter file: {error}") from error
    if document is None:
        return
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{path}: expected sections by node, got {document!r:.80}")
    yield from _walk(document, "", path)


def _walk(document: Mapping, name: str, path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    for key, value in document.items():
        if key == _KEY:
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"{path}: {name}.{_KEY}: expected a mapping")
            yield name, dict(_flat(value, ""))
        elif isinstance(value, Mapping):
            yield from _walk(value, str(key), path)
        else:
            raise ConfigurationError(f"{path}: {key}: expected {_KEY}, got {value!r:.80}")


def _flat(values: Mapping, prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
