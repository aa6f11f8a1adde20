"""An engine of TensorRT in a loop, as `trtexec` times it: copy in, run, copy out, wait.

Only what the GPU does with inputs that lie in pinned memory already; no checks, no arrays of the
caller's, no CUDA graph.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edge_perception.backends.tensorrt.building import build
from edge_perception.backends.tensorrt.gpu import Buffer, Gpu, Stream
from edge_perception.backends.tensorrt.libraries import trt
from edge_perception.backends.tensorrt.log import ErrorLog, start
from edge_perception.backends.tensorrt.options import TensorRtOptions
from edge_perception.core.errors import BackendError


class BareEngine:
    """One context with one buffer for each tensor; all shapes are static."""

    def __init__(self, path: Path, gpu: Gpu) -> None:
        """Build the engine of a graph, in the graph's precision.

        Raises:
            BackendError: TensorRT or the driver refuses.
        """
        self._gpu, self._log = gpu, ErrorLog()
        self._held = ExitStack()
        with gpu.active():
            engine, _ = build(path.name, path.read_bytes(), TensorRtOptions(), self._log)
            self._stream = Stream()
            self._runtime = start(trt.Runtime, path.name, self._log, self._log)
            self._engine = self._runtime.deserialize_cuda_engine(engine)
            self._context = self._engine.create_execution_context()
            self._inputs, self._outputs = self._buffers()

    def _buffers(self) -> tuple[list[Buffer], list[Buffer]]:
        found: tuple[list[Buffer], list[Buffer]] = ([], [])
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            size = int(np.prod(self._engine.get_tensor_shape(name), dtype=np.int64))
            buffer = Buffer(size * dtype.itemsize)
            self._held.callback(buffer.free)
            self._context.set_tensor_address(name, buffer.address)
            is_output = self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
            found[is_output].append(buffer)
        return found

    def run(self) -> None:
        """Run once and wait.

        Raises:
            BackendError: it failed.
        """
        with self._gpu.active():
            for buffer in self._inputs:
                self._stream.to_device(buffer.device, buffer.whole())
            if not self._context.execute_async_v3(self._stream.handle):
                raise BackendError(f"inference failed: {self._log.take()}")
            for buffer in self._outputs:
                self._stream.to_host(buffer.whole(), buffer.device)
            self._stream.synchronize()

    def close(self) -> None:
        """Free everything, the context before the buffers whose addresses it has."""
        with self._gpu.active():
            del self._context
            self._held.close()
            del self._engine, self._runtime
            self._stream.free()
