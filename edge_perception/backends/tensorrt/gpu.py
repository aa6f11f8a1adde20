"""GPUs, streams, buffers and CUDA graphs: all that this runtime asks of the driver.

Everything here except `gpus` and `open_gpu` is called with the GPU active (`Gpu.active`).
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.tensorrt.libraries import driver, graphs
from edge_perception.core.errors import BackendError

_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_OPENED: dict[int, Gpu] = {}
_LOCK = threading.Lock()


class Gpu:
    """One GPU with its primary context.

    The context is retained once in the process and stays to its end, as the CUDA runtime does it:
    PyCUDA ties a context to the thread that made it, and sessions come and go in many.
    """

    def __init__(self, index: int) -> None:
        device = driver.Device(index)
        self.index = index
        self.provider = f"cuda:{index}"
        self.name = str(device.name())
        self.capability = ".".join(str(number) for number in device.compute_capability())
        self.memory_bytes = int(device.total_memory())
        self._context = device.retain_primary_context()

    def used_bytes(self) -> int:
        """Return how much of its memory is taken, by whomever.

        Raises:
            BackendError: the driver does not tell.
        """
        with self.active():
            free, total = driver.mem_get_info()
        return int(total) - int(free)

    def close(self) -> None:
        """Give the context back; nothing that belongs to it may be used any more."""
        # While it is current: else PyCUDA does so only in the thread that opened it. And not with
        # its last reference: PyCUDA takes it for a context of its own then, and the driver refuses.
        self._context.push()
        self._context.detach()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this GPU's context the one of this thread; errors of the driver become ours.

        Raises:
            BackendError: a call of the driver inside failed.
        """
        try:
            self._context.push()
            try:
                yield
            finally:
                driver.Context.pop()
        except driver.Error as error:
            raise BackendError(f"{self.provider} ({self.name}): {error}") from error


def gpus() -> int:
    """Return how many GPUs there are.

    Raises:
        BackendError: the driver cannot be used, or it finds none.
    """
    try:
        driver.init()
        count = int(driver.Device.count())
    except driver.Error as error:
        raise BackendError(f"the NVIDIA driver cannot be used: {error}") from error
    if count == 0:
        raise BackendError("the NVIDIA driver finds no GPU")
    return count


def open_gpu(index: int) -> Gpu:
    """Return a GPU; one object for each in the process.

    Raises:
        BackendError: there is no such GPU, or it cannot be used.
    """
    count = gpus()
    if index >= count:
        raise BackendError(f"cuda:{index} is not here; there is cuda:0 to cuda:{count - 1}")
    with _LOCK:
        try:
            if index not in _OPENED:
                _OPENED[index] = Gpu(index)
        except driver.Error as error:
            raise BackendError(f"cuda:{index} cannot be used: {error}") from error
        return _OPENED[index]


def close_gpus() -> None:
    """Give every GPU back, at the end of the process."""
    # Without the lock: a thread may hang in the driver with it, and the end must not wait for that.
    while _OPENED:
        _, gpu = _OPENED.popitem()
        with suppress(driver.Error):  # the process ends, and the driver with it
            gpu.close()


atexit.register(close_gpus)


def driver_version() -> str:
    """Return the version of the kernel module where it is told, and the CUDA version of libcuda."""
    cuda = str(driver.get_driver_version())
    try:
        return f"{_KERNEL_MODULE.read_text(encoding='utf-8').splitlines()[0]}, CUDA {cuda}"
    except (OSError, IndexError):  # a container or a Jetson may not tell
        return f"CUDA {cuda}"


class Stream:
    """A stream of its own, so that sessions do not wait for each other."""

    def __init__(self) -> None:
        self._stream: Any = driver.Stream()

    @property
    def handle(self) -> int:
        """The driver's handle."""
        return int(self._stream.handle)

    def to_device(self, device: Any, host: NDArray) -> None:
        """Queue a copy; `host` is pinned memory."""
        driver.memcpy_htod_async(device, host, self._stream)

    def to_host(self, host: NDArray, device: Any) -> None:
        """Queue a copy; `host` is pinned memory."""
        driver.memcpy_dtoh_async(host, device, self._stream)

    def launch(self, function: Any, blocks: int, threads: int, addresses: Sequence[int]) -> None:
        """Queue a kernel that was prepared."""
        try:
            function.prepared_async_call((blocks, 1), (threads, 1, 1), self._stream, *addresses)
        except driver.Error as error:
            # A function holds its module: PyCUDA's frames, and this one, would keep it loaded.
            del function
            raise error.with_traceback(None) from None

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        self._stream.synchronize()

    def settle(self) -> None:
        """Wait, whatever comes of it: memory that queued work uses must not be freed."""
        if self._stream is not None:
            with suppress(driver.Error):  # who queued the work was told, or is about to be
                self._stream.synchronize()

    def free(self) -> None:
        """Destroy the stream: PyCUDA does it with the last reference."""
        self._stream = None


class Buffer:
    """Memory on the GPU and pinned memory on the host for one tensor, of the largest size."""

    def __init__(self, size_bytes: int) -> None:
        size_bytes = max(size_bytes, 1)  # a tensor may be empty, an allocation may not
        self._host: Any = driver.pagelocked_empty(size_bytes, np.uint8)
        try:
            # Zeros: the run before the recording must not meet indices that are any number.
            self._host[:].fill(0)
            self._device: Any = driver.mem_alloc(size_bytes)
        except BaseException:
            self._free_host()
            raise

    @property
    def address(self) -> int:
        """Where it lies on the GPU."""
        return int(self._device)

    @property
    def device(self) -> Any:
        """The memory on the GPU."""
        return self._device

    def view(self, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
        """Return the pinned memory as an array; must not be used after `free`."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        array: NDArray = self._host[:size].view(dtype).reshape(shape)
        return array

    def whole(self) -> NDArray[np.uint8]:
        """Return all of the pinned memory; must not be used after `free`."""
        array: NDArray[np.uint8] = self._host
        return array

    def free(self) -> None:
        """Give both back."""
        device, self._device = self._device, None
        try:
            device.free()
        finally:
            self._free_host()

    def _free_host(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            host.base.free()  # the array itself owns nothing


class DeviceMemory:
    """Memory on the GPU alone."""

    def __init__(self, size_bytes: int) -> None:
        self._device: Any = driver.mem_alloc(max(size_bytes, 1))
        self.address = int(self._device)

    def free(self) -> None:
        """Give it back."""
        device, self._device = self._device, None
        device.free()


class Kernels:
    """Compiled kernels, loaded on the GPU. Each takes pointers and nothing else."""

    def __init__(self, code: bytes, arguments: Mapping[str, Sequence[str]]) -> None:
        """Load them.

        Args:
            code: of NVRTC.
            arguments: names of each kernel's pointers, by the kernel's name.

        Raises:
            pycuda.driver.Error: it is not for this GPU, or lacks one of the kernels.
        """
        self._module: Any = driver.module_from_buffer(code)
        # Prepared calls with numbers: the other way PyCUDA keeps what it was called with for good.
        try:
            self._functions = {
                name: self._module.get_function(name).prepare("P" * len(pointers))
                for name, pointers in arguments.items()
            }
        except BaseException:
            self._module = None  # the error's frames would keep it
            raise

    def launch(
        self, stream: Stream, name: str, size: tuple[int, int], addresses: Sequence[int]
    ) -> None:
        """Queue one; `size` is blocks and threads of a block."""
        blocks, threads = size
        stream.launch(self._functions[name], blocks, threads, addresses)

    def free(self) -> None:
        """Unload them: PyCUDA does it with the last reference."""
        self._functions = {}
        self._module = None


class Graph:
    """Work of a stream, recorded once and launched as one."""

    def __init__(self, stream: Stream, queue: Callable[[], None]) -> None:
        """Record what `queue` queues on `stream`; nothing of it runs.

        Raises:
            BackendError: some of it cannot be recorded.
        """
        self._stream = stream.handle
        mode = graphs.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _call("cuStreamBeginCapture", self._stream, mode)
        try:
            queue()
        except BaseException:
            # The stream must leave capture in any case; what was recorded until then is dropped.
            status, graph = graphs.cuStreamEndCapture(self._stream)
            if int(status) == 0 and int(graph):
                graphs.cuGraphDestroy(graph)
            raise
        graph = _call("cuStreamEndCapture", self._stream)
        try:
            self._executable = _call("cuGraphInstantiate", graph, 0)
        finally:
            _call("cuGraphDestroy", graph)  # the executable keeps what it needs

    def launch(self) -> None:
        """Queue all of it."""
        _call("cuGraphLaunch", self._executable, self._stream)

    def free(self) -> None:
        """Destroy it; it must not run."""
        _call("cuGraphExecDestroy", self._executable)


def _call(name: str, *arguments: Any) -> Any:
    status, *results = getattr(graphs, name)(*arguments)
    if int(status) != 0:
        raise BackendError(f"{name} failed: {getattr(status, 'name', status)}")
    return results[0] if results else None
