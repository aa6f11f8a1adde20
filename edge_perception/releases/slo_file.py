"""Reads the operator's SLO file: YAML, refused with file, line and what is expected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.schema import decode
from edge_perception.releases.slo import SCHEMA, Slo

MAX_BYTES = 65536
MOST_NODES = 4096
_ROOT = "slo"
_NULL = "tag:yaml.org,2002:null"


class _Loader(yaml.SafeLoader):
    """Reads 1e-6 as a number, as YAML 1.2 does; to YAML 1.1 it is a text without its point."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_slo(path: str) -> Slo:
    """Return what the operator asks for.

    Args:
        path: of the file; empty: as `config/slo.yaml` of the package.

    Raises:
        ConfigurationError: the file is missing, or breaks the schema.
    """
    if not path:
        return Slo()
    file = Path(path).expanduser()
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: expected an SLO file: {error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{file}: expected at most {MAX_BYTES} bytes")
    return parse_slo(text, str(file))


def parse_slo(text: str, source: str) -> Slo:
    """Return the objectives of a YAML text.

    Args:
        text: the YAML.
        source: what errors call it, usually the file.

    Raises:
        ConfigurationError: as for `read_slo`; the text begins with source and line.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise _not_yaml(error, source) from error
    if root is None or root.tag == _NULL:
        raise ConfigurationError(f"{source}:1: expected an SLO file, got an empty one")
    lines: dict[str, int] = {}
    for count, (where, node) in enumerate(_walk(root, _ROOT, source)):
        if count > MOST_NODES:
            raise ConfigurationError(f"{source}:1: expected at most {MOST_NODES} values")
        lines[where] = node.start_mark.line + 1
    try:
        data = yaml.load(text, Loader=_Loader)
        if isinstance(data, dict) and "schema" not in data:
            raise ConfigurationError(f"{_ROOT}.schema: expected {SCHEMA}, got nothing")
        return decode(Slo, data, _ROOT)
    except yaml.YAMLError as error:
        raise _not_yaml(error, source) from error
    except (ConfigurationError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source}:{_line(str(error), lines)}: {error}") from None


def _not_yaml(error: Exception, source: str) -> ConfigurationError:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    said = " ".join(str(getattr(error, "problem", None) or error).split())
    return ConfigurationError(f"{source}:{line}: expected YAML: {said}")


def _walk(node: yaml.Node, where: str, source: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield every value with its path as the schema writes it; refuse a key given twice."""
    yield where, node
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, f"{where}[{index}]", source)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise ConfigurationError(
                    f"{source}:{key.start_mark.line + 1}: {where}.{name}: given twice"
                )
            seen.add(name)
            yield from _walk(value, f"{where}.{name}", source)
        if where.startswith(f"{_ROOT}.objectives["):
            # Checks of a whole objective call it by its name.
            named = next((v.value for k, v in node.value if k.value == "name"), None)
            if isinstance(named, str):
                for key, value in node.value:
                    yield f"{_ROOT}.objectives.{named}.{key.value}", value
                yield f"{_ROOT}.objectives.{named}", node


def _line(error: str, lines: dict[str, int]) -> int:
    """Return the line of the field that an error begins with, or of the nearest around it."""
    where = re.split(r":\s", error, maxsplit=1)[0]
    while where and where not in lines:
        where = where[: max(where.rfind("."), where.rfind("["), 0)]
    return lines.get(where, 1)
