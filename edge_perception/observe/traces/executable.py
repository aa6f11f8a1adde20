"""The executable of the traces node: signals end it from here on, before a second of imports."""

from __future__ import annotations

from typing import NoReturn

from edge_perception.running.ending import watch_signals


def main() -> NoReturn:
    """Run the node."""
    watch_signals()
    from edge_perception.observe.traces.node import run_node

    run_node()


if __name__ == "__main__":
    main()
