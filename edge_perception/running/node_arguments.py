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
from edge_perception.encoders import GENERIC
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
_NAME = re.compile(r"(?:[^:]+:)?__(?:node|name):=(.*)")
_RENAMES_ALL = re.compile(r"__(?:node|name):=.*")
COMMAND_LINE = "-p"


@dataclass(kw_only=True)
class NodeArguments:
    """The arguments of a process, its parameters taken out."""

    others: list[str] = field(default_factory=list)
    parameters: ParameterFiles = field(default_factory=ParameterFiles)
    given: bool = False  # there are parameters
    name: str = ""  # that a rule gives a node; empty: none does


@contextmanager
def checked_arguments(arguments: Sequence[str], *, several: bool = False) -> Iterator[list[str]]:
    """Give arguments for `rclpy.init`, which must be called before the context ends.

    Args:
        arguments: of the process, its program first.
        several: it runs several nodes, of which each has a name of its own: a rule that gives them
            all one (launch files name every process) names the process, and a section of that
            name means them all.

    Raises:
        ConfigurationError: a parameter or a file of them cannot be used.
    """
    read = read_arguments(arguments, several=several)
    if not read.given:
        yield read.others
        return
    program = Path(arguments[0]).name if arguments else ""
    check_names(read.parameters, node=read.name, is_encoder=program.endswith(GENERIC))
    _check_namespace(read.parameters, (read.name,) if read.name else ())
    with tempfile.TemporaryDirectory(prefix="edge_perception_") as folder:
        file = Path(folder) / "parameters.yaml"
        file.write_text(dump(read.parameters.sections), encoding="utf-8")
        yield [*read.others, "--ros-args", "--params-file", str(file), "--"]


def read_arguments(arguments: Sequence[str], *, several: bool = False) -> NodeArguments:
    """Take the parameters out of a process's arguments, in the order in which they stand.

    Args:
        arguments: of the process.
        several: as in `checked_arguments`; a rule that names all nodes is taken out too.

    Raises:
        ConfigurationError: a file cannot be read, or a rule has another form.
    """
    read = NodeArguments()
    ros, rest = False, iter(arguments)
    if several:  # the rule may stand behind the files that it is about
        rules = [word for word in arguments if _RENAMES_ALL.fullmatch(word)]
        read.parameters.process = rules[-1].partition(":=")[2] if rules else ""
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
        elif ros and (found := _NAME.fullmatch(word)):
            if several and _RENAMES_ALL.fullmatch(word):
                if read.others and read.others[-1] in ("-r", "--remap"):
                    read.others.pop()
                continue
            read.name = found[1]
        read.others.append(word)
    return read


def _add_rule(parameters: ParameterFiles, rule: str) -> None:
    found = _RULE.fullmatch(rule)
    if found is None:
        raise ConfigurationError(f"-p: expected name:=value, got '{rule}'")
    node, name, text = found.groups()
    value = parse_value(text, f"-p {name}")
    parameters.override(node or EVERY_NODE, name, value, COMMAND_LINE)


def _check_namespace(parameters: ParameterFiles, also: Sequence[str] = ()) -> None:
    """Refuse a file that speaks of vehicles in other namespaces, and not of this one."""
    nodes = {*known_names(sources_of(parameters)), *also}
    ours = [s for s in parameters.written if s.pattern.split("/")[-1] in nodes]
    space = parameters.namespace.rstrip("/")
    if ours and not any(matches(s.pattern, f"{space}/{node}") for s in ours for node in nodes):
        named = sorted({section.pattern for section in ours})
        raise ConfigurationError(
            f"{ours[0].origin}: expected sections for nodes in namespace {space or '/'}, got only "
            f"{', '.join(named)}"
        )
