"""Options of the backend, from `provider_options: ["kserve.name=value", …]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_perception.backends.contract import DEFAULT_BACKEND
from edge_perception.backends.kserve.shared_memory import MODES
from edge_perception.core.errors import BackendError
from edge_perception.core.parameter import parameter
from edge_perception.core.text_options import options_of

_NAME = "kserve"


@dataclass(frozen=True, kw_only=True)
class KserveOptions:
    """How a remote model is asked."""

    model: str = parameter("", "its name on the server; empty: the bundle's folder names")
    version: str = parameter("", "its version on the server; empty: the newest")
    deadline_ms: float = parameter(
        50.0, "longest time for one inference, retries within it", unit="ms", low=1.0, high=60000.0
    )
    shared_memory: str = parameter(
        "auto",
        "tensors in memory that the server maps too, where it can; auto: on a loopback address; "
        "true: whatever the address says, the server is on this machine",
        choices=MODES,
    )
    retries: int = parameter(1, "further tries within the deadline", low=0, high=10)
    fallback: str = parameter(
        DEFAULT_BACKEND, "runtime that runs the bundle's own file meanwhile; none: an error instead"
    )
    failures: int = parameter(3, "failures in a row that open the breaker", low=1, high=1000)
    open_s: float = parameter(
        1.0, "first pause of an open breaker", unit="s", low=0.01, high=3600.0
    )


def kserve_options(by_provider: Mapping[str, Mapping[str, str]]) -> KserveOptions:
    """Decode the options.

    Args:
        by_provider: options by provider, all of them of this runtime.

    Raises:
        BackendError: a name is not known, or a value does not fit.
    """
    for owner in by_provider:
        if owner != _NAME:
            raise BackendError(f"provider_options: expected {_NAME}.…, got '{owner}.…'")
    values = by_provider.get(_NAME, {})
    options = options_of(KserveOptions, values, _NAME, error=BackendError)
    if options.fallback == _NAME:
        raise BackendError(f"{_NAME}.fallback: expected a runtime of this machine, got {_NAME}")
    return options
