"""A graph input that kernels make on the GPU, from what is copied there for each frame."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import TensorInfo
from edge_perception.backends.device_program import DeviceProgram
from edge_perception.backends.tensorrt.gpu import Buffer, DeviceMemory, Kernels, Stream
from edge_perception.core.errors import BackendError

_BLOCK = 256  # threads


class Preparation:
    """Kernels and the memory they use. All of it is called with the GPU active."""

    def __init__(self, program: DeviceProgram, code: bytes, target: int, stream: Stream) -> None:
        """Load the kernels and copy what is constant.

        Args:
            program: what they are.
            code: compiled.
            target: address of the graph input on the GPU.
            stream: of the session.

        Raises:
            pycuda.driver.Error: the driver refuses it, or there is no memory; nothing is left then.
        """
        self.program, self._stream = program, stream
        self._addresses = {program.input: target}
        self._buffers: dict[str, Buffer] = {}
        self._held = ExitStack()  # frees in reverse order
        try:
            self._load(code)
        except BaseException:
            stream.settle()
            self._held.close()
            raise

    def _load(self, code: bytes) -> None:
        program = self.program
        self._kernels = Kernels(
            code, {launch.kernel: launch.arguments for launch in program.launches}
        )
        self._held.callback(self._kernels.free)
        for name, array in program.constants.items():
            buffer = self._add(name, array.nbytes)
            buffer.view(array.shape, array.dtype)[...] = array
            self._stream.to_device(buffer.device, buffer.view(array.shape, array.dtype))
        for info in (*program.arrays, *program.results):
            size = int(np.prod(_largest(info, program), dtype=np.int64))
            self._add(info.name, size * np.dtype(info.dtype).itemsize)
        for name, size_bytes in program.scratch.items():
            memory = DeviceMemory(size_bytes)
            self._held.callback(memory.free)
            self._addresses[name] = memory.address
        self._stream.synchronize()

    def write(self, arrays: Mapping[str, NDArray]) -> None:
        """Put the arrays of a frame where they are copied from; they fit but for their length.

        Raises:
            BackendError: one is longer than the program said.
        """
        for info in self.program.arrays:
            array, room = arrays[info.name], self._view(info)
            if len(array) > len(room):
                raise BackendError(
                    f"'{info.name}' expects at most {len(room)} rows, got {len(array)}"
                )
            room[: len(array)] = array

    def queue(self) -> None:
        """Queue copies and kernels on the session's stream; nothing waits for them."""
        for info in self.program.arrays:
            self._stream.to_device(self._buffers[info.name].device, self._view(info))
        for launch in self.program.launches:
            blocks = 1 if launch.one_block else -(-launch.threads // _BLOCK)
            addresses = [self._addresses[name] for name in launch.arguments]
            self._kernels.launch(self._stream, launch.kernel, (blocks, _BLOCK), addresses)

    def queue_results(self) -> None:
        """Queue the copies back; they are there once the stream is done."""
        for info in self.program.results:
            self._stream.to_host(self._view(info), self._buffers[info.name].device)

    def results(self) -> dict[str, NDArray]:
        """Return them, the caller's own; of one that is counted, the rows that there are.

        The copy from the GPU is of a fixed size, as it is part of the CUDA graph; of what it
        brought only what counts is copied once more.
        """
        views = {info.name: self._view(info) for info in self.program.results}
        counted_by = self.program.counted_by
        return {
            name: view[: int(views[counted_by[name]][0])].copy()
            if name in counted_by
            else view.copy()
            for name, view in views.items()
        }

    def free(self) -> None:
        """Free everything; nothing of it runs or is recorded any more."""
        self._held.close()
        self._buffers = {}

    def _add(self, name: str, size_bytes: int) -> Buffer:
        buffer = Buffer(size_bytes)
        self._held.callback(buffer.free)
        self._buffers[name] = buffer
        self._addresses[name] = buffer.address
        return buffer

    def _view(self, info: TensorInfo) -> NDArray:
        return self._buffers[info.name].view(_largest(info, self.program), np.dtype(info.dtype))


def _largest(info: TensorInfo, program: DeviceProgram) -> tuple[int, ...]:
    return tuple(program.most if size < 0 else size for size in info.shape)
