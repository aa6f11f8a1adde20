"""Which namespace the nodes of a recording had, where nobody says it."""

from __future__ import annotations

from edge_perception.core.errors import ConfigurationError
from edge_perception.running.node_parameters import ENCODER, FUSION, MANAGER, METRICS, RESOURCES
from edge_perception.running.parameter_yaml import ParameterFiles, matches

_ROOT = "/"


def choose_namespace(parameters: ParameterFiles) -> tuple[str, ...]:
    """Set the namespace to the one that the files speak of, where they speak of one only.

    Returns:
        A note when it is not the root.

    Raises:
        ConfigurationError: the files speak of several vehicles, or nothing in the namespace reads a
            section.
    """
    named: dict[str, str] = {}  # namespaces written out, and where
    somewhere = []  # patterns that mean a namespace without naming it
    for section in parameters.written:
        space, _, node = section.pattern.rpartition("/")
        if not _is_ours(node):
            continue
        if "*" not in space and node != "**":
            named.setdefault(space or _ROOT, section.origin)
        elif space and "*" not in space:
            named.setdefault(space, section.origin)
        elif not matches(section.pattern, f"/{node.replace('*', 'x')}"):
            somewhere.append(section)
    if _ROOT in named or not named:
        chosen = _ROOT
    elif len(named) == 1:
        (chosen,) = named
    else:
        raise ConfigurationError(
            f"parameters: expected those of one vehicle, got sections of {' and '.join(named)}: "
            "choose with --namespace"
        )
    for section in somewhere:
        node = section.pattern.rpartition("/")[2].replace("*", "x")
        if not matches(section.pattern, f"{chosen.rstrip('/')}/{node}"):
            raise ConfigurationError(
                f"{section.origin}: no node in namespace {chosen} reads the section "
                f"'{section.pattern}': choose with --namespace"
            )
    parameters.namespace = chosen
    if chosen == _ROOT:
        return ()
    return (f"{named[chosen]}: the parameters of namespace {chosen} were taken",)


def _is_ours(node: str) -> bool:
    ours = (FUSION, MANAGER, METRICS, RESOURCES, "*", "**")
    return node in ours or node.endswith(ENCODER)
