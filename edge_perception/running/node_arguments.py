"""ROS arguments of a process of nodes: the parameters in them read, checked, and told to rcl.

What `validate` reads of a parameter file is what the nodes get: both read it with the same code,
and rcl sees only what that code makes of it. A file that cannot be read, a name that nothing reads
and a section for another vehicle are one line, before a node is made.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge_perception.core.errors import ConfigurationError
from edge_perception.running.node_parameters import check_names, known_names, sources_of
from edge_perception.running.parameter_yaml import (
    EVERY_NODE,
    ParameterFiles,
    absolute,
    matches,
)
from edge_perception.running.ros_yaml import dump, parse_value

_RULE = re.compile(r"(?:([^:]+):)?([^:]+):=(.*)", re.DOTALL)
_NAMESPACE = re.compile(r"(?:[^:]+:)?__ns:=(.*)")
COMMAND_LINE = "-p"


@dataclass(kw_only=True)
class NodeArguments:
    """The arguments of a process, its parameters taken out."""

    others: list[str] = field(default_factory=list)
    parameters: ParameterFiles = field(default_factory=ParameterFiles)
    given: bool = False  # there are parameters


@contextmanager
def checked_arguments(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Give arguments for `rclpy.init`, which must be called before the context ends.

    Raises:
        ConfigurationError: a parameter or a file of them cannot be used.
    """
    read = read_arguments(arguments)
    if not read.given:
        yield read.others
        return
    check_names(read.parameters)
    _check_namespace(read.parameters)
    with tempfile.TemporaryDirectory(prefix="edge_perception_") as folder:
        file = Path(folder) / "parameters.yaml"
        file.write_text(dump(read.parameters.sections), encoding="utf-8")
        yield [*read.others, "--ros-args", "--params-file", str(file), "--"]


def read_arguments(arguments: Sequence[str]) -> NodeArguments:
    """Take the parameters out of a process's arguments, in the order in which they stand.

    Raises:
        ConfigurationError: a file cannot be read, or a rule has another form.
    """
    read = NodeArguments()
    ros, rest = False, iter(arguments)
    for word in rest:
        if word == "--ros-args":
            ros = True
        elif word == "--":
            ros = False
        elif ros and word in ("-p", "--param", "--params-file"):
            value = next(rest, None)
            if value is None:
                raise ConfigurationError(f"{word}: expected a value after it, got nothing")
            read.given = True
            if word == "--params-file":
                read.parameters.add_file(Path(value))
            else:
                _add_rule(read.parameters, value)
            continue
        elif ros and (found := _NAMESPACE.fullmatch(word)):
            read.parameters.namespace = absolute(found[1])
        read.others.append(word)
    return read


def _add_rule(parameters: ParameterFiles, rule: str) -> None:
    found = _RULE.fullmatch(rule)
    if found is None:
        raise ConfigurationError(f"-p: expected name:=value, got '{rule}'")
    node, name, text = found.groups()
    value = parse_value(text, f"-p {name}")
    parameters.override(node or EVERY_NODE, name, value, COMMAND_LINE)


def _check_namespace(parameters: ParameterFiles) -> None:
    """Refuse a file that speaks of vehicles in other namespaces, and not of this one."""
    nodes = known_names(sources_of(parameters)).keys()
    ours = [s for s in parameters.written if s.pattern.split("/")[-1] in nodes]
    space = parameters.namespace.rstrip("/")
    if ours and not any(matches(s.pattern, f"{space}/{node}") for s in ours for node in nodes):
        named = sorted({section.pattern for section in ours})
        raise ConfigurationError(
            f"{ours[0].origin}: expected sections for nodes in namespace {space or '/'}, got only "
            f"{', '.join(named)}"
        )
