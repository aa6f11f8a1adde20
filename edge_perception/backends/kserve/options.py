"""Options of the backend, from `provider_options: ["kserve.name=value", …]`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from edge_perception.backends.contract import DEFAULT_BACKEND
from edge_perception.core.errors import BackendError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import check_limits


@dataclass(frozen=True, kw_only=True)
class KserveOptions:
    """How a remote model is asked."""

    model: str = parameter("", "its name on the server; empty: the bundle's folder names")
    version: str = parameter("", "its version on the server; empty: the newest")
    deadline_ms: float = parameter(
        50.0, "longest time for one inference, retries within it", unit="ms", low=1.0, high=60000.0
    )
    retries: int = parameter(1, "further tries within the deadline", low=0, high=10)
    fallback: str = parameter(
        DEFAULT_BACKEND, "runtime that runs the bundle's own file meanwhile; none: an error instead"
    )
    failures: int = parameter(3, "failures in a row that open the breaker", low=1, high=1000)
    open_s: float = parameter(
        1.0, "first pause of an open breaker", unit="s", low=0.01, high=3600.0
    )


def kserve_options(values: Mapping[str, str]) -> KserveOptions:
    """Decode the options.

    Raises:
        BackendError: a name is not known, or a value does not fit.
    """
    known: dict[str, Any] = {item.name: item for item in fields(KserveOptions)}
    found: dict[str, object] = {}
    for name, text in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BackendError(f"kserve.{name}: expected one of {', '.join(known)}{hint}")
        kind = type(known[name].default)
        try:
            found[name] = value = kind(text)
        except ValueError as error:
            raise BackendError(f"kserve.{name}: expected {kind.__name__}, got '{text}'") from error
        check_limits(value, known[name].metadata, f"kserve.{name}")
    return KserveOptions(**found)  # type: ignore[arg-type]
