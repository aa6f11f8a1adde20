"""One way to declare a parameter or a limit: value, text, unit, range, changeable.

What is declared here is checked by `core.schema`, declared as a ROS parameter by the nodes, and
written into the commented parameter file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, field
from typing import Any


def parameter(
    default: Any = MISSING,
    text: str = "",
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[object] | None = None,
    dynamic: bool = False,
    read_only: bool = False,
    stricter: str = "",
    example: str = "",
) -> Any:
    """Return a dataclass field with limits.

    Args:
        default: its value where none is given, immutable; left out: one must be given.
        text: what it means, for people.
        unit: of the value, for example "s".
        low: least value, inclusive; None: any.
        high: greatest value, inclusive; None: any.
        choices: the values there are.
        dynamic: it may change while a node runs; else it may while the node is unconfigured.
        read_only: it never changes after the start of a node.
        stricter: "lower" or "higher": where what is declared beside it holds from the start on,
            this may change in that direction.
        example: what the parameter file shows of a list that is empty by default.
    """
    metadata: dict[str, Any] = {"text": text, "unit": unit, "dynamic": dynamic}
    if read_only:
        metadata["read_only"] = True
    if stricter:
        metadata["stricter"] = stricter
    if low is not None:
        metadata["min"] = low
    if high is not None:
        metadata["max"] = high
    if example:
        metadata["example"] = example
    if choices is not None:
        metadata["choices"] = tuple(choices)
    return field(default=default, metadata=metadata)
