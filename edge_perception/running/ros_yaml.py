"""The YAML of ROS parameter files, read as rcl reads it (rcl_yaml_param_parser).

rcl has rules of its own for plain scalars: `1e3` is a number, `1:30` and `1_000` are not, `y` is
true. Beyond rcl, a list that mixes whole numbers and fractions is one of floats, aliases are
followed and a section may be empty; the nodes get all that in rcl's own form (`node_arguments`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from edge_perception.core.errors import ConfigurationError

KEY = "ros__parameters"
_TRUE = {"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_SPECIAL = {
    ".nan": "nan", ".NaN": "nan", ".NAN": "nan",
    ".inf": "inf", ".Inf": "inf", ".INF": "inf", "+.inf": "inf", "+.Inf": "inf", "+.INF": "inf",
    "-.inf": "-inf", "-.Inf": "-inf", "-.INF": "-inf",
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)")
_HEXADECIMAL = re.compile(r"[-+]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][-+]?\d+)?")
_DECIMAL = re.compile(r"[-+]?((\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|inf(inity)?|nan)", re.IGNORECASE)
_SEGMENT = re.compile(r"\*\*|\*|[A-Za-z_]\w*", re.ASCII)
_STR = "tag:yaml.org,2002:str"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one place of a file sets for the nodes of a name."""

    pattern: str  # fully qualified, with wildcards: /**/fusion
    values: Mapping[str, object]  # by flat name
    origin: str  # file and line


def parse_file(text: str, where: str) -> list[Section]:
    """Read a parameter file.

    Args:
        text: its content.
        where: its name, for messages.

    Raises:
        ConfigurationError: no YAML, or no parameter file; the text names the line.
    """
    try:
        return [section for root in _roots(text, where) for section in _walk(root, "", where)]
    except RecursionError:  # an anchor that holds itself
        raise ConfigurationError(f"{where}: sections are nested without end") from None


def parse_value(text: str, where: str) -> object:
    """Read one value as it stands behind `name:=`.

    Raises:
        ConfigurationError: it is no value of a parameter.
    """
    roots = _roots(text, where)
    if len(roots) != 1:
        raise ConfigurationError(f"{where}: expected a value, got '{text}'")
    if isinstance(roots[0], yaml.MappingNode):
        return dict(_flat(roots[0], "", where))
    return _value(roots[0], where)


def dump(sections: list[Section]) -> str:
    """Return a file that rcl reads as these sections."""
    lines = []
    named: set[str] = set()
    for section in sections:
        # The same name twice would be one section; without the slash it is another, and means the
        # same.
        name = section.pattern.lstrip("/") if section.pattern in named else section.pattern
        named.add(name)
        lines += [f"{json.dumps(name)}:", f"  {KEY}:"]
        # rcl has no empty mapping; a name that nobody declares changes nothing.
        for key, value in (section.values or {"_": 0}).items():
            lines.append(f"    {_text(key)}: {_text(value)}")
    return "\n".join(lines) + "\n"


def scalar(text: str) -> object:
    """Return what rcl makes of a plain scalar: bool, int, float or str."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        octal = len(digits) > 1 and digits.isdigit() and digits[0] == "0"
        whole = int(text, 8 if octal else 0)
        if -(2**63) <= whole < 2**63:
            return whole
    if text in _SPECIAL:
        return float(_SPECIAL[text])
    if _HEXADECIMAL.fullmatch(text):
        return float.fromhex(text)
    if _DECIMAL.fullmatch(text):
        value = float(text)
        if abs(value) != float("inf") or "inf" in text.lower():
            return value
    return text


def _roots(text: str, where: str) -> list[yaml.Node]:
    try:
        return [root for root in yaml.compose_all(text, Loader=_LOADER) if root is not None]
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ConfigurationError(f"{where}: expected YAML: {said}") from error


def _walk(node: yaml.Node, name: str, where: str) -> Iterator[Section]:
    at = f"{where}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.MappingNode):
        what = f"below '{name}'" if name else "with sections by node name"
        raise ConfigurationError(f"{at}: expected {KEY} {what}, got {_short(node)}")
    for key, child in _items(node, where):
        if key == KEY:
            if not name:
                raise ConfigurationError(f"{at}: expected a node name above {KEY}, got none")
            yield Section(pattern=name, values=_parameters(child, name, where), origin=at)
        else:
            for part in key.strip("/").split("/"):
                if not _SEGMENT.fullmatch(part):
                    raise ConfigurationError(
                        f"{at}: expected a node or namespace of letters, digits and _, or * or "
                        f"**, got '{key}'"
                    )
            yield from _walk(child, f"{name}/{key.strip('/')}", where)


def _parameters(node: yaml.Node, name: str, where: str) -> dict[str, object]:
    at = f"{where}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.ScalarNode) and not node.style and node.value in ("", "~", "null"):
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigurationError(
            f"{at}: {name}.{KEY}: expected a mapping of parameters, got {_short(node)}"
        )
    return dict(_flat(node, "", where))


def _flat(node: yaml.MappingNode, prefix: str, where: str) -> Iterator[tuple[str, object]]:
    for key, child in _items(node, where):
        if isinstance(child, yaml.MappingNode):
            yield from _flat(child, f"{prefix}{key}.", where)
        else:
            yield prefix + key, _value(child, f"{where}:{child.start_mark.line + 1}: {prefix}{key}")


def _items(node: yaml.MappingNode, where: str) -> Iterator[tuple[str, yaml.Node]]:
    for key, child in node.value:
        if not isinstance(key, yaml.ScalarNode):
            line = key.start_mark.line + 1
            raise ConfigurationError(f"{where}:{line}: expected a name, got {_short(key)}")
        if key.value == "<<" and isinstance(child, yaml.MappingNode):
            yield from _items(child, where)
        else:
            yield key.value, child


def _value(node: yaml.Node, where: str) -> object:
    if isinstance(node, yaml.ScalarNode):
        return _plain(node, where)
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigurationError(f"{where}: expected a value or a list, got {_short(node)}")
    items: list[Any] = []
    for child in node.value:
        if not isinstance(child, yaml.ScalarNode):
            raise ConfigurationError(f"{where}: expected a flat list, got {_short(node)}")
        items.append(_plain(child, where))
    kinds = {type(item) for item in items}
    if kinds == {int, float}:
        return [float(item) for item in items]
    if len(kinds) > 1:
        raise ConfigurationError(f"{where}: expected a list of one kind, got {_short(node)}")
    return items


def _plain(node: yaml.ScalarNode, where: str) -> object:
    if node.style:  # quoted, or a block
        return node.value
    if node.value in ("", "~", "null"):  # rcl refuses the first and takes the others for words
        raise ConfigurationError(f"{where}: expected a value, got nothing")
    resolved = yaml.SafeLoader.yaml_implicit_resolvers.get(node.value[0], [])
    if node.tag == _STR and any(pattern.match(node.value) for _, pattern in resolved):
        return node.value  # !!str in front
    return scalar(node.value)


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, float):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(repr(value), repr(value))
    return json.dumps(value, ensure_ascii=False)


def _short(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"'{node.value[:80]}'" if node.value else "nothing"
    kind = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    inside = [c for c in node.value[:8] if isinstance(c, yaml.ScalarNode)]
    return f"{kind} [{', '.join(c.value for c in inside)}]" if inside else kind
