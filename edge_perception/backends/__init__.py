"""Inference runtimes behind one contract. A runtime is a folder that exports SPEC."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from numpy.typing import NDArray

from edge_perception.core.parameter import parameter
from edge_perception.core.registry import Registry, discover


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """How a session is created."""

    threads: int = parameter(1, unit="threads", low=1, high=64)
    provider: str = ""  # empty: the runtime's CPU provider


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """Name, NumPy dtype name and shape of a graph input or output; -1 marks a free dimension."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class BackendInfo:
    """What is really running."""

    runtime: str
    runtime_version: str
    provider: str  # the active one, not the requested one
    fell_back: bool  # the requested provider is not the active one
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Backend(Protocol):
    """One loaded model."""

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors so that the first real frame is not the slow one."""
        ...

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model: named arrays in, named arrays out.

        Raises:
            BackendError: an input is missing, of the wrong shape or dtype, or the run failed.
        """
        ...

    def describe(self) -> BackendInfo:
        """Return what is really running."""
        ...

    def close(self) -> None:
        """Release the session; `infer` must not be called again."""
        ...


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """What a runtime's folder exports."""

    name: str
    load: Callable[[Path, BackendOptions], Backend]


@cache
def backends() -> Registry[BackendSpec]:
    """All runtimes that can be imported here, and why the others cannot."""
    return discover(sys.modules[__name__], kind="backend", spec_type=BackendSpec)
