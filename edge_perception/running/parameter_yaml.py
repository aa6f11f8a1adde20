"""ROS parameter files without ROS: the values a node would get, as its dataclasses.

What holds for a node is what rcl would give it. Its files are one list of sections: a section whose
name came before, in this file or an earlier one, takes the place of the earlier one, and of the
sections that mean a node the last in the list wins. `**` means any namespace, `*` one word of it.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.schema import decode
from edge_perception.running.ros_yaml import Section, parse_file

C = TypeVar("C")
EVERY_NODE = "/**"


class ParameterFiles:
    """Values of several files, by node.

    Args:
        paths: files in the order of a command line.
        overrides: more values, as `node.parameter: value`; they win over the files.
        namespace: of the nodes.

    Raises:
        ConfigurationError: a file cannot be read or is no parameter file.
    """

    def __init__(
        self,
        paths: Sequence[Path] = (),
        overrides: Mapping[str, object] | None = None,
        *,
        namespace: str = "",
    ):
        self.namespace = absolute(namespace)
        self.process = ""  # a section of this name means every node; empty: none does
        self.written: list[Section] = []  # as they came, for messages
        self._sections: list[Section] = []
        for path in paths:
            self.add_file(path)
        for name, value in (overrides or {}).items():
            node, _, parameter = name.partition(".")
            if not parameter:
                raise ConfigurationError(f"parameter: expected node.parameter, got '{name}'")
            self.override(f"/**/{node}", parameter, value, "--set")

    def add_file(self, path: Path) -> None:
        """Read one more file.

        Raises:
            ConfigurationError: it cannot be read or is no parameter file.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: expected a parameter file: {error}") from error
        for section in parse_file(text, str(path)):
            space, _, node = section.pattern.rpartition("/")
            if node and node == self.process:
                space = "" if space == EVERY_NODE else space
                section = dataclasses.replace(section, pattern=f"{space}{EVERY_NODE}")
            self.written.append(section)
            self._put(section)

    def override(self, pattern: str, name: str, value: object, origin: str) -> None:
        """Set a value as `-p` on a command line: over all that was read before."""
        pattern = EVERY_NODE if pattern and pattern == self.process else absolute(pattern)
        section = Section(pattern=pattern, values={name: value}, origin=origin)
        self.written.append(section)
        if section.pattern == EVERY_NODE:
            # The same name in an earlier place would win over it where rcl joins the sections.
            self._sections = [
                dataclasses.replace(s, values={n: v for n, v in s.values.items() if n != name})
                for s in self._sections
            ]
        self._put(section, last=section.pattern != EVERY_NODE)

    def _put(self, section: Section, *, last: bool = False) -> None:
        for index, present in enumerate(self._sections):
            if present.pattern == section.pattern and (
                not last or present.origin == section.origin
            ):
                values = {**present.values, **section.values}
                self._sections[index] = dataclasses.replace(present, values=values)
                return
        self._sections.append(section)

    @property
    def sections(self) -> list[Section]:
        """The sections in the order in which they are applied."""
        return list(self._sections)

    def of_node(self, node: str) -> dict[str, object]:
        """Return the values for a node by flat name."""
        full = f"{self.namespace.rstrip('/')}/{node}"
        values: dict[str, object] = {}
        for section in self._sections:
            if matches(section.pattern, full):
                values.update(section.values)
        return values

    def everywhere(self, name: str, nodes: Iterable[str]) -> list[object]:
        """Return all values that any section for one of these nodes gives a parameter."""
        ends = {*nodes, "*", "**"}
        return [
            section.values[name]
            for section in self.written
            if name in section.values and section.pattern.split("/")[-1] in ends
        ]


def absolute(name: str) -> str:
    """Return a name with one slash in front."""
    return "/" + name.strip("/")


def matches(pattern: str, node: str) -> bool:
    """Whether a section of this name means a node (both fully qualified), as rcl decides it."""
    return _expression(pattern).fullmatch(node) is not None


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    words = re.sub(r"/\*\*?", lambda m: r"(/\w+)*" if m[0] == "/**" else r"(/\w+)", pattern)
    return re.compile(words, re.ASCII)


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
