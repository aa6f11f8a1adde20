"""Inference runtimes behind one contract. A runtime is a folder that exports SPEC."""

from __future__ import annotations

from edge_perception.backends.contract import (
    DEFAULT_BACKEND,
    PRECISIONS,
    Backend,
    BackendInfo,
    BackendOptions,
    BackendSpec,
    TensorInfo,
)
from edge_perception.core.registry import Discovery, Registry

__all__ = [
    "DEFAULT_BACKEND",
    "PRECISIONS",
    "Backend",
    "BackendInfo",
    "BackendOptions",
    "BackendSpec",
    "TensorInfo",
    "backends",
]


_DISCOVERY = Discovery(
    __name__,
    kind="backend",
    group="backends",
    spec_type=BackendSpec,
    name_of=lambda spec: spec.name,
)


def backends() -> Registry[BackendSpec]:
    """All runtimes that can be imported here, and why the others cannot."""
    return _DISCOVERY.registry()
