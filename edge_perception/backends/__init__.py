"""Inference runtimes behind one contract. A runtime is a folder that exports SPEC."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edge_perception.backends.contract import (
    DEFAULT_BACKEND,
    PRECISIONS,
    Backend,
    BackendInfo,
    BackendOptions,
    BackendSpec,
    OperatorTime,
    Profiled,
    TensorInfo,
)
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.registry import Discovery, Registry

__all__ = [
    "DEFAULT_BACKEND",
    "PRECISIONS",
    "Backend",
    "BackendInfo",
    "BackendOptions",
    "BackendSpec",
    "OperatorTime",
    "Profiled",
    "TensorInfo",
    "backends",
    "load_model_bytes",
    "offered_ways",
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


def offered_ways(spec: BackendSpec) -> tuple[Sequence[tuple[str, str]], str]:
    """Return (provider, precision) of the ways that a runtime offers here, or why there is none."""
    if spec.ways is None:
        return (), "asks a server; name it in `provider`"
    try:
        return spec.ways(), ""
    except EdgePerceptionError as error:  # no device, or a driver that does not work
        return (), str(error)


def load_model_bytes(
    spec: BackendSpec, data: bytes, path: Path, options: BackendOptions
) -> Backend:
    """Create a session of bytes, so that what was verified is what runs.

    Args:
        spec: the runtime; where it takes only paths it is given an anonymous file in memory.
        data: the model.
        path: where it was read from, for names and messages.
        options: how the session is created.

    Raises:
        BackendError: the runtime cannot load it.
    """
    if spec.load_bytes is not None:
        return spec.load_bytes(data, path, options)
    descriptor = os.memfd_create(path.name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        return spec.load(Path(f"/proc/self/fd/{descriptor}"), options)
