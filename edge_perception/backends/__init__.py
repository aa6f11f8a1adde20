"""Inference runtimes behind one contract. A runtime is a folder that exports SPEC."""

from __future__ import annotations

import sys
from functools import cache

from edge_perception.backends.contract import (
    PRECISIONS,
    Backend,
    BackendInfo,
    BackendOptions,
    BackendSpec,
    TensorInfo,
)
from edge_perception.core.registry import Registry, discover

__all__ = [
    "PRECISIONS",
    "Backend",
    "BackendInfo",
    "BackendOptions",
    "BackendSpec",
    "TensorInfo",
    "backends",
]


@cache
def backends() -> Registry[BackendSpec]:
    """All runtimes that can be imported here, and why the others cannot."""
    return discover(sys.modules[__name__], kind="backend", spec_type=BackendSpec)
