"""A driver of the tests' own under the names of PyCUDA and of cuda.bindings.

It holds what the real one asks for: a context on the stack of the thread, memory that is there, the
order of the end; copies and kernels wait in a stream until somebody waits for it.
"""

from __future__ import annotations

import itertools
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from kernels_on_cpu import start

COMPILED = b"of compute capability 9.0\n"


class Recorder:
    """What is alive on the pretended GPU, and what was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.stack = 0
        self.alive: dict[str, set[int]] = {}
        self.memory: dict[int, np.ndarray] = {}  # by address
        self.streams: dict[int, list] = {}  # what waits, by handle
        self.recording: list | None = None
        self.fail = ""  # the next call of this name fails
        self.devices = 1
        self.compilations = 0
        self.numbers = itertools.count(0x1000, 0x1000)

    def call(self, name: str) -> None:
        assert self.stack > 0 or name in {"init", "count"}, f"{name} without a context"
        self.calls.append(name)
        if self.fail == name:
            self.fail = ""
            raise Error(f"{name} failed: out of memory")

    def born(self, kind: str) -> int:
        number = next(self.numbers)
        self.alive.setdefault(kind, set()).add(number)
        return number

    def gone(self, kind: str, number: int) -> None:
        self.call(f"free {kind}")
        self.alive[kind].remove(number)  # KeyError: it was freed before

    def queue(self, handle: int, work: Any) -> None:
        waiting = self.streams[handle]  # KeyError: a stream that is gone
        (waiting if self.recording is None else self.recording).append(work)

    @property
    def left(self) -> dict[str, int]:
        return {kind: len(numbers) for kind, numbers in self.alive.items() if numbers}


class Error(Exception):
    """As pycuda.driver.Error."""


class Owned:
    """Something on the GPU that is freed once, or with its last reference."""

    kind = ""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self.number = recorder, recorder.born(self.kind)

    def free(self) -> None:
        number, self.number = self.number, 0
        self._recorder.gone(self.kind, number)


def pycuda(recorder: Recorder) -> ModuleType:
    """Return a module as pycuda.driver, as far as the runtime uses it."""

    class Context:
        def push(self) -> None:
            recorder.stack += 1

        @staticmethod
        def pop() -> None:
            recorder.stack -= 1
            assert recorder.stack >= 0

    class Device:
        def __init__(self, index: int) -> None:
            assert index < recorder.devices

        @staticmethod
        def count() -> int:
            recorder.call("count")
            return recorder.devices

        def name(self) -> str:
            return "Recorder"

        def compute_capability(self) -> tuple[int, int]:
            return (9, 0)

        def total_memory(self) -> int:
            return 2**30

        def retain_primary_context(self) -> Context:
            return Context()

    class Stream(Owned):
        kind = "stream"

        def __init__(self) -> None:
            recorder.call("stream")
            super().__init__(recorder)
            self.handle = self.number
            recorder.streams[self.handle] = []

        def synchronize(self) -> None:
            recorder.call("synchronize")
            assert recorder.recording is None, "waited while recording"
            waiting = recorder.streams[self.handle]
            while waiting:
                waiting.pop(0)()

        def __del__(self) -> None:
            if hasattr(self, "handle"):
                del recorder.streams[self.handle]
                self.free()

    class Allocation(Owned):
        kind = "device"

        def __init__(self, size: int) -> None:
            recorder.call("mem_alloc")
            super().__init__(recorder)
            self._at = self.number
            recorder.memory[self._at] = np.zeros(size, np.uint8)

        def __int__(self) -> int:
            return self.number

        def free(self) -> None:
            super().free()
            del recorder.memory[self._at]

    class Pinned(Owned):
        kind = "pinned"

    def pagelocked_empty(shape: int, dtype: Any) -> Any:
        recorder.call("pagelocked_empty")
        owner = Pinned(recorder)
        whole = np.full(shape, 255, dtype)  # whatever was there

        class Host:  # an ndarray cannot be given a base
            base = owner

            def __getitem__(self, key: Any) -> np.ndarray:
                assert owner.number, "pinned memory that was freed"
                return whole[key]

        return Host()

    def memcpy_htod_async(dest: Any, src: np.ndarray, stream: Stream) -> None:
        handle = stream.handle
        del stream  # the real one has no frame that a traceback would hold
        recorder.call("to device")
        target, raw = recorder.memory[int(dest)], src.reshape(-1).view(np.uint8)
        recorder.queue(handle, lambda: target.__setitem__(slice(raw.size), raw))

    def memcpy_dtoh_async(dest: np.ndarray, src: Any, stream: Stream) -> None:
        handle = stream.handle
        del stream
        recorder.call("to host")
        source, raw = recorder.memory[int(src)], dest.reshape(-1).view(np.uint8)
        recorder.queue(handle, lambda: raw.__setitem__(slice(None), source[: raw.size]))

    class Function:
        def __init__(self, module: Module, name: str) -> None:
            self._module, self._name, self._pointers = module.number, name, 0
            self._source = module.source

        def prepare(self, arg_types: str) -> Function:
            assert set(arg_types) == {"P"}
            self._pointers = len(arg_types)
            return self

        def prepared_async_call(
            self, grid: tuple, block: tuple, stream: Stream, *addresses: int
        ) -> None:
            handle = stream.handle
            del stream
            recorder.call(f"kernel {self._name}")
            assert self._module in recorder.alive["module"], "a kernel that is not loaded any more"
            assert len(addresses) == self._pointers
            memory = [recorder.memory[address] for address in addresses]
            source, name = self._source, self._name
            recorder.queue(
                handle,
                lambda: start(source, name, grid[0], block[0], [m.ctypes.data for m in memory]),
            )

    class Module(Owned):
        kind = "module"

        def __init__(self, source: str) -> None:
            super().__init__(recorder)
            self.source = source

        def get_function(self, name: str) -> Function:
            if f" {name}(" not in self.source:
                del self  # as above
                raise Error("cuModuleGetFunction failed: named symbol not found")
            return Function(self, name)

        def __del__(self) -> None:
            self.free()

    def module_from_buffer(image: bytes) -> Module:
        recorder.call("module_from_buffer")
        assert image.startswith(COMPILED)
        return Module(image.removeprefix(COMPILED).decode())

    module = ModuleType("pycuda.driver")
    names = {
        "Context": Context,
        "Device": Device,
        "Error": Error,
        "Stream": Stream,
        "get_driver_version": lambda: 13000,
        "init": lambda: recorder.call("init"),
        "mem_alloc": Allocation,
        "memcpy_dtoh_async": memcpy_dtoh_async,
        "memcpy_htod_async": memcpy_htod_async,
        "module_from_buffer": module_from_buffer,
        "pagelocked_empty": pagelocked_empty,
    }
    vars(module).update(names)
    return module


def bindings(recorder: Recorder) -> ModuleType:
    """Return a module as cuda.bindings.driver, as far as the runtime uses it."""
    graphs: dict[int, list] = {}

    def begin(stream: int, mode: str) -> tuple:
        recorder.call("begin capture")
        recorder.recording = []
        return (0,)

    def end(stream: int) -> tuple:
        recorder.call("end capture")
        work, recorder.recording = recorder.recording, None
        number = recorder.born("graph")
        graphs[number] = work or []
        return (0, number)

    def instantiate(graph: int, flags: int) -> tuple:
        recorder.call("instantiate")
        number = recorder.born("executable")
        graphs[number] = graphs[graph]
        return (0, number)

    def launch(executable: int, stream: int) -> tuple:
        recorder.call("launch")
        assert executable in recorder.alive["executable"]
        recorder.streams[stream].extend(graphs[executable])
        return (0,)

    def gone(kind: str) -> Any:
        return lambda number: (recorder.gone(kind, number) or (graphs.pop(number) and 0) or 0,)

    module = ModuleType("cuda.bindings.driver")
    names = {
        "CUstreamCaptureMode": SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread local"),
        "cuGraphDestroy": gone("graph"),
        "cuGraphExecDestroy": gone("executable"),
        "cuGraphInstantiate": instantiate,
        "cuGraphLaunch": launch,
        "cuStreamBeginCapture": begin,
        "cuStreamEndCapture": end,
    }
    vars(module).update(names)
    return module


def compilers(recorder: Recorder) -> ModuleType:
    """Return a module as cuda.bindings.nvrtc, as far as the runtime uses it; compiles nothing."""
    sources: dict[int, bytes] = {}
    log = b"kernels.cu(3): error: expected a ';'\n1 error detected\0"

    def create(src: bytes, name: bytes, number: int, headers: list, names: list) -> tuple:
        made = recorder.born("compilation")
        sources[made] = COMPILED + src
        return (0, made)

    def compile_program(prog: int, number: int, options: list[bytes]) -> tuple:
        assert number == len(options)
        assert b"--gpu-architecture=sm_90" in options
        recorder.compilations += 1
        return (6 if b"#error" in sources[prog] else 0,)

    def read(what: Any) -> tuple[Any, Any]:
        def size(prog: int) -> tuple:
            return (0, len(what(prog)))

        def copy(prog: int, into: bytearray) -> tuple:
            into[:] = what(prog)
            return (0,)

        return size, copy

    def destroy(prog: int) -> tuple:
        recorder.alive["compilation"].remove(prog)
        return (0,)

    module = ModuleType("cuda.bindings.nvrtc")
    code_size, code = read(lambda prog: sources[prog])
    log_size, log_of = read(lambda _prog: log)
    names = {
        "nvrtcCompileProgram": compile_program,
        "nvrtcCreateProgram": create,
        "nvrtcDestroyProgram": destroy,
        "nvrtcGetCUBIN": code,
        "nvrtcGetCUBINSize": code_size,
        "nvrtcGetProgramLog": log_of,
        "nvrtcGetProgramLogSize": log_size,
        "nvrtcGetSupportedArchs": lambda: (0, [75, 80, 90]),
        "nvrtcVersion": lambda: (0, 13, 5),
    }
    vars(module).update(names)
    return module
