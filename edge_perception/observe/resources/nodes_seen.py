"""Which processes our nodes are, and which models they run, as their diagnostics say."""

from __future__ import annotations

from collections.abc import Mapping

from edge_perception.monitoring.resources.energy import Inferring
from edge_perception.monitoring.resources.processes import PROCESS, pid_here

_SILENT_S = 5.0  # every node speaks every second
_MOST_NODES = 64


class NodesSeen:
    """Remembers what each node of a namespace said last.

    Args:
        namespace: of the nodes.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace.rstrip("/")
        self._said: dict[str, tuple[Mapping[str, str], int]] = {}

    def take(self, name: str, values: Mapping[str, str], steady_ns: int) -> None:
        """Take a status; others than those of our nodes say no process."""
        space, _, node = f"/{name.lstrip('/')}".rpartition("/")
        if space != self._namespace or PROCESS not in values:
            return
        self._said[node] = (values, steady_ns)
        while len(self._said) > _MOST_NODES:
            self._said.pop(next(iter(self._said)))

    def processes(self, steady_ns: int) -> dict[str, int]:
        """Return the ids of processes on this machine by node."""
        found = {node: pid_here(said[PROCESS]) for node, said in self._now(steady_ns).items()}
        return {node: pid for node, pid in found.items() if pid is not None}

    def inferring(self, steady_ns: int) -> list[Inferring]:
        """Return the nodes that run a model."""
        return [
            Inferring(
                node=node,
                model=said["model"],
                rate_hz=_number(said.get("rate_hz", "")),
                where=said.get("provider", "an unknown provider"),
            )
            for node, said in self._now(steady_ns).items()
            if said.get("model") and "rate_hz" in said
        ]

    def _now(self, steady_ns: int) -> dict[str, Mapping[str, str]]:
        return {
            node: values
            for node, (values, at_ns) in self._said.items()
            if (steady_ns - at_ns) / 1e9 <= _SILENT_S
        }


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
