"""An engine at work: pinned buffers allocated once, asynchronous copies, a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import TensorInfo
from edge_perception.backends.device_program import DeviceProgram
from edge_perception.backends.tensorrt.gpu import Buffer, Graph, Stream
from edge_perception.backends.tensorrt.libraries import trt
from edge_perception.backends.tensorrt.log import ErrorLog, start
from edge_perception.backends.tensorrt.options import TensorRtOptions
from edge_perception.backends.tensorrt.preparing import Preparation
from edge_perception.core.errors import BackendError


class Execution:
    """What one session holds on the GPU. All of it is called with the GPU active."""

    def __init__(self, name: str, engine: bytes, options: TensorRtOptions, log: ErrorLog) -> None:
        """Load an engine.

        Raises:
            BackendError: TensorRT refuses it, or there is no memory; nothing is left then.
        """
        self._name, self._log = name, log
        self.notes: tuple[str, ...] = ()  # what was asked for and is not so
        self._graph: Graph | None = None
        self._preparation: Preparation | None = None
        self._prepared_graph: Graph | None = None  # of an inference with the preparation
        self._buffers: dict[str, Buffer] = {}
        self._held = ExitStack()  # frees in reverse order
        try:
            self._load(engine, options)
        except BaseException:
            self.close()
            raise

    def _load(self, data: bytes, options: TensorRtOptions) -> None:
        self._stream = Stream()
        self._held.callback(self._stream.free)
        self._runtime = start(trt.Runtime, self._name, self._log, self._log)
        self._held.callback(self._drop, "_runtime")
        self._engine = self._runtime.deserialize_cuda_engine(data)
        self._held.callback(self._drop, "_engine")
        if self._engine is None:
            raise self._error("the engine cannot be loaded")
        self.layers = int(self._engine.num_layers)
        self.inputs, self.outputs = self._tensors()
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._error("no execution context")
        try:
            self._allocate()
        finally:
            # Pushed last: the context goes before the buffers whose addresses it has.
            self._held.callback(self._drop, "_context")
        static = all(-1 not in info.shape for info in (*self.inputs, *self.outputs))
        why = "the engine has free dimensions"
        if static and options.cuda_graph is not False:
            self._graph, why = self._recorded(self._queue)
            if self._graph is not None:
                self._held.callback(self._graph.free)
        if options.cuda_graph and self._graph is None:
            self.notes = (f"a CUDA graph was asked for, none is used: {why}",)

    @property
    def program(self) -> DeviceProgram | None:
        """What makes an input here; None: nothing does."""
        return None if self._preparation is None else self._preparation.program

    def prepare_by(self, program: DeviceProgram, code: bytes) -> None:
        """Let kernels make an input, in the place of those before.

        Args:
            program: what they are; its input is one of the engine's and has a fixed shape.
            code: compiled.

        Raises:
            pycuda.driver.Error: the driver refuses it; then nothing makes an input.
            BackendError: TensorRT fails.
        """
        self._drop_preparation()
        target = self._buffers[program.input].address
        self._preparation = Preparation(program, code, target, self._stream)
        try:
            if self._graph is not None:
                self._prepared_graph, _ = self._recorded(self._queue_prepared)
            else:
                self._queue_prepared()
                self._stream.synchronize()
        except BaseException:
            self._drop_preparation()
            raise

    def run(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Copy in, run, copy out; the arrays fit.

        Args:
            arrays: of all inputs, or those of the program in the place of the one that it makes.

        Raises:
            BackendError: TensorRT or the driver fails.
        """
        preparation = self._preparation
        if preparation is not None and preparation.program.input in arrays:
            preparation = None
        for info in self.inputs:
            if info.name not in arrays:
                continue  # the kernels make it
            array = arrays[info.name]
            if -1 in info.shape and not self._context.set_input_shape(info.name, array.shape):
                raise self._error(f"input '{info.name}' cannot have the shape {array.shape}")
            self._view(info)[...] = array
        queue: Callable[[], None] = self._queue
        graph = self._graph
        if preparation is not None:
            preparation.write(arrays)
            graph, queue = self._prepared_graph, self._queue_prepared
        if graph is not None:
            graph.launch()
        else:
            queue()
        self._stream.synchronize()
        outputs = {info.name: self._view(info).copy() for info in self.outputs}
        return outputs if preparation is None else {**outputs, **preparation.results()}

    def close(self) -> None:
        """Free everything in the order that it hangs together; twice is as good as once."""
        self._drop_preparation()
        self._held.close()
        self._buffers = {}

    def _drop_preparation(self) -> None:
        graph, self._prepared_graph = self._prepared_graph, None
        preparation, self._preparation = self._preparation, None
        if "_stream" in self.__dict__:  # else the load ended before there was one
            self._stream.settle()  # an inference that failed half way has left copies there
        try:
            if graph is not None:
                graph.free()
        finally:
            if preparation is not None:
                preparation.free()

    def _tensors(self) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        found: dict[Any, list[TensorInfo]] = {
            trt.TensorIOMode.INPUT: [],
            trt.TensorIOMode.OUTPUT: [],
        }
        for index in range(self._engine.num_io_tensors):
            tensor = self._engine.get_tensor_name(index)
            if self._engine.get_tensor_location(tensor) != trt.TensorLocation.DEVICE:
                raise self._error(
                    f"tensor '{tensor}' is a shape, which is not supported", ask=False
                )
            kind = self._engine.get_tensor_dtype(tensor)
            try:
                dtype = np.dtype(trt.nptype(kind)).name
            except TypeError as error:
                raise self._error(
                    f"'{tensor}' has the type {kind}, which NumPy lacks", ask=False
                ) from error
            shape = tuple(int(size) for size in self._engine.get_tensor_shape(tensor))
            info = TensorInfo(name=tensor, dtype=dtype, shape=shape)
            found[self._engine.get_tensor_mode(tensor)].append(info)
        inputs, outputs = found.values()
        return tuple(inputs), tuple(outputs)

    def _allocate(self) -> None:
        """One buffer for each tensor, of the largest shape that the engine takes."""
        for info in self.inputs:
            shape = info.shape
            if -1 in shape:
                shape = tuple(self._engine.get_tensor_profile_shape(info.name, 0)[2])
                if not self._context.set_input_shape(info.name, shape):
                    raise self._error(f"input '{info.name}' cannot have the shape {shape}")
            self._add(
                info.name, int(np.prod(shape, dtype=np.int64)) * np.dtype(info.dtype).itemsize
            )
        for info in self.outputs:
            size = int(self._context.get_max_output_size(info.name))
            if size < 0:
                raise self._error(f"output '{info.name}' has no largest size")
            self._add(info.name, size)

    def _add(self, tensor: str, size_bytes: int) -> None:
        buffer = Buffer(size_bytes)
        self._held.callback(buffer.free)
        self._buffers[tensor] = buffer
        if not self._context.set_tensor_address(tensor, buffer.address):
            raise self._error(f"'{tensor}' gets no memory")

    def _recorded(self, queue: Callable[[], None]) -> tuple[Graph | None, str]:
        """Make a graph of one inference; return it, or why there is none."""
        queue()  # TensorRT prepares itself in the first run, which cannot be recorded
        self._stream.synchronize()
        try:
            return Graph(self._stream, queue), ""
        except BackendError as error:
            # An engine whose layers wait for the host runs without a graph, only a little slower.
            self._log.take()
            return None, str(error)

    def _queue(self, made: str = "") -> None:
        """Queue an inference; `made` is the input that is on the GPU already."""
        for info in self.inputs:
            if info.name != made:
                self._stream.to_device(self._buffers[info.name].device, self._view(info))
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._error("inference failed")
        for info in self.outputs:
            self._stream.to_host(self._view(info), self._buffers[info.name].device)

    def _queue_prepared(self) -> None:
        preparation = self._preparation
        assert preparation is not None
        preparation.queue()
        self._queue(preparation.program.input)
        preparation.queue_results()

    def _view(self, info: TensorInfo) -> NDArray:
        shape = info.shape
        if -1 in shape:
            shape = tuple(int(size) for size in self._context.get_tensor_shape(info.name))
        if -1 in shape:
            raise self._error(f"the shape of '{info.name}' depends on the data", ask=False)
        return self._buffers[info.name].view(shape, np.dtype(info.dtype))

    def _drop(self, name: str) -> None:
        """Let the last reference go: so the bindings free what is behind it."""
        self.__dict__.pop(name, None)

    def _error(self, what: str, *, ask: bool = True) -> BackendError:
        return BackendError(f"{self._name}: {what}" + (f": {self._log.take()}" if ask else ""))
