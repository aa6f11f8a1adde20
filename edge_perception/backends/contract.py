"""What a runtime promises: options in, named arrays in and out, and what is really running."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from numpy.typing import NDArray

from edge_perception.core.parameter import parameter

# What a bundle is imported, verified and run with where nothing else is said.
DEFAULT_BACKEND = "onnxruntime"
DEFAULT_PRECISION = "fp32"
PRECISIONS = (DEFAULT_PRECISION, "fp16", "bf16", "auto")


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """How a session is created."""

    threads: int = parameter(1, unit="threads", low=1, high=64)
    # One name or a chain of them, tried in order; empty: the runtime's CPU provider.
    provider: tuple[str, ...] = ()
    # Options of a provider by its name as in `provider`.
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    strict: bool = False  # refuse what would otherwise be skipped with a note
    # Of the arithmetic, where the runtime may choose it; a quantised graph stays what it is.
    precision: str = parameter(DEFAULT_PRECISION, choices=PRECISIONS)
    cache: Path | None = None  # folder for what the runtime compiles; None: nothing is kept
    profiling: bool = False  # note the time of every operator, where the runtime can: `Profiled`


def as_the_graph(precision: str, who: str) -> tuple[str, ...]:
    """Return a note on a precision that was asked of who has no choice; none: nothing was.

    Args:
        precision: as of `BackendOptions`.
        who: runs the model.
    """
    if precision in (DEFAULT_PRECISION, "auto"):
        return ()
    return (f"precision {precision} was asked for; {who} computes as the graph says",)


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
    provider: str  # the one that most nodes of the graph run on
    # Nodes of the graph after the runtime's optimisation, by the provider or device that runs them;
    # empty: the runtime does not tell.
    assignment: Mapping[str, int] = field(default_factory=dict)
    precision: str = ""  # of the arithmetic; empty: as in the graph
    cache_hit: bool | None = None  # a compiled model was found; None: no cache is used
    notes: tuple[str, ...] = ()  # what was asked for and is not so, each with its reason
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @property
    def where(self) -> str:
        """Providers with the nodes on each, for people: ``CUDAExecutionProvider 118 of 120``."""
        total = sum(self.assignment.values())
        if len(self.assignment) <= 1:
            return self.provider
        parts = sorted(self.assignment.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {count} of {total} nodes" for name, count in parts)


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """The nodes of one kind in a graph as it runs."""

    kind: str  # as the runtime calls it, after its own optimisation
    count: float  # nodes a run
    seconds: float  # a run, all of them together
    where: str  # provider or device


@runtime_checkable
class Profiled(Protocol):
    """A backend that was created with `profiling` and tells where the time of a run goes."""

    def operator_times(self, runs: int) -> tuple[OperatorTime, ...]:
        """Return the operators of the last `runs` runs; afterwards only `close` may be called."""
        ...


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
    # The same of bytes that were read and verified; the path is for names and messages only. None:
    # the runtime is given an anonymous file in memory that holds them.
    load_bytes: Callable[[bytes, Path, BackendOptions], Backend] | None = None
    # (provider, precision) of the ways that it offers on this machine; None: only its user knows.
    # An EdgePerceptionError says why there are none.
    ways: Callable[[], Sequence[tuple[str, str]]] | None = None
    # `infer` of one session may be called by several threads at once, and they run beside each
    # other. Else sources that serve the same model have a session each.
    concurrent: bool = False
    # Its sessions run kernels that make inputs on the device: `device_program.RunsPrograms`.
    runs_programs: bool = False
