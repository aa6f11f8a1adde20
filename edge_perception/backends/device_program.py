"""Kernels that make a graph input on the device, of data that is smaller or nearer to the sensor.

An encoder says what its kernels are and what they work on; a backend that has a device compiles,
copies and launches. Only pointers are handed to a kernel, so numbers lie in arrays as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import Backend, TensorInfo
from edge_perception.core.errors import BackendError


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One kernel, once a frame."""

    kernel: str
    threads: int  # at least so many; each looks whether there is work for its number
    # Names of arrays of the program, or of the graph input, in the order of the kernel's pointers.
    arguments: tuple[str, ...]
    one_block: bool = False  # its threads wait for each other


@dataclass(frozen=True, kw_only=True)
class DeviceProgram:
    """What makes one graph input. All that it names has a name of its own."""

    input: str  # of the graph, with a fixed shape
    source: str  # CUDA; kernels are extern "C"
    constants: Mapping[str, NDArray]  # copied once
    # Copied for each frame: `infer` takes them for the input. -1: a first dimension up to `most`.
    arrays: tuple[TensorInfo, ...]
    most: int = 0
    results: tuple[TensorInfo, ...] = ()  # copied back with the graph's outputs; -1 as of arrays
    # The result, one int32, that says how many rows of another one there are, by the other's name.
    counted_by: Mapping[str, str] = field(default_factory=dict)
    scratch: Mapping[str, int]  # memory of the device between the kernels, bytes
    launches: tuple[Launch, ...]

    def __post_init__(self) -> None:
        """Refuse two arrays of one name, and results of a free length that nothing counts.

        Raises:
            BackendError: the graph input is called as one of the program's arrays, or the length of
                a result is not told by another.
        """
        infos = (info.name for info in (*self.arrays, *self.results))
        names = Counter((self.input, *self.constants, *infos, *self.scratch))
        name, times = names.most_common(1)[0]
        if times > 1:
            raise BackendError(
                f"kernels for input '{self.input}' have an array '{name}' of their own"
            )
        counts = {i.name for i in self.results if (i.dtype, i.shape) == ("int32", (1,))}
        for info in self.results:
            if -1 in info.shape and self.counted_by.get(info.name) not in counts:
                raise BackendError(f"result '{info.name}' has a free length that no result counts")


@runtime_checkable
class RunsPrograms(Protocol):
    """A backend that can make graph inputs on its device."""

    def run_program(self, program: DeviceProgram) -> None:
        """Take a program in the place of the one before; the same one again costs nothing.

        From then on `infer` takes the program's arrays in the place of its input, or the input
        itself as before, and returns the program's results beside the outputs.

        Raises:
            BackendError: it cannot be compiled or loaded, or memory lacks; then there is none.
        """
        ...


def run_program(backend: Backend, program: DeviceProgram) -> None:
    """Let a backend run a program.

    Raises:
        BackendError: as `RunsPrograms.run_program`, or it runs none.
    """
    if not isinstance(backend, RunsPrograms):
        raise BackendError(f"the runtime {backend.describe().runtime} runs no kernels of ours")
    backend.run_program(program)


def structure(fields: Mapping[str, float | NDArray]) -> NDArray[np.void]:
    """Return numbers as a structure of C, (1,): whole ones as int, others as float.

    Args:
        fields: by name, in the order of the structure; arrays have int32 or float32.
    """
    kinds = [
        (name, value.dtype, value.shape)
        if isinstance(value, np.ndarray)
        else (name, np.dtype(np.int32 if isinstance(value, int) else np.float32), ())
        for name, value in fields.items()
    ]
    made = np.zeros(1, np.dtype(kinds))  # four bytes each, so C pads nothing
    for name, value in fields.items():
        made[name] = value
    return made
