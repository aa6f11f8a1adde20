"""The libcuda of the tests' own, `recording_libcuda.c`, as the tests see it.

PyCUDA and cuda.bindings over it are the real ones, which `make setup-backends` builds and installs.
Only NVRTC has a stand-in: what it makes runs on no CPU.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import kernels_on_cpu

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WHEELS = ROOT / ".venv-tensorrt"
COMPILED = b"of compute capability 9.0\n"
KINDS = ("stream", "device", "pinned", "module", "graph", "executable")


def why_not() -> str:
    """Return what is missing for real PyCUDA over a driver of the tests' own; empty: nothing."""
    for folder, package in (("pycuda", "PyCUDA"), ("11", "cuda-bindings")):
        if not (WHEELS / folder / ".set_up_stamp").is_file():
            return f"no {package} in .venv-tensorrt/{folder}: make setup-backends"
    if not (shutil.which("cc") or shutil.which("gcc")):
        return "no C compiler here"
    return ""


def paths() -> list[str]:
    """Return the folders of PyCUDA and cuda.bindings."""
    return [str(WHEELS / "pycuda"), str(WHEELS / "11")]


@cache
def folder() -> Path:
    """Compile the libcuda; return where it lies, for the loader of a process of its own."""
    made = Path(tempfile.mkdtemp(prefix="libcuda-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    compiler = shutil.which("cc") or "gcc"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wl,-soname,libcuda.so.1"]
    libraries = ["-ldl", "-lpthread", "-lm"]
    source = HERE / "recording_libcuda.c"
    command = [compiler, *flags, "-o", made / "libcuda.so.1", source, *libraries]
    subprocess.run(command, check=True, timeout=120)
    return made


class Recorder:
    """What is alive on the pretended GPU, and what was called, in this process."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        for name in ("calls", "faults", "sizes"):
            getattr(self._driver, f"recorder_{name}").restype = ctypes.c_char_p
        self._driver.recorder_reset()
        self.alive: dict[str, set[int]] = {}  # of TensorRT and NVRTC
        self.compilations = 0
        self._numbers = itertools.count(1)

    def call(self, name: str) -> None:
        """Write down what is no call of the driver."""
        assert self._driver.recorder_note(name.encode()) == 0, self.faults

    def born(self, kind: str) -> int:
        number = next(self._numbers)
        self.alive.setdefault(kind, set()).add(number)
        return number

    def gone(self, kind: str, number: int) -> None:
        self.call(f"free {kind}")
        self.alive[kind].remove(number)  # KeyError: it was freed before

    def has(self, address: int) -> bool:
        """Whether this is memory of the device."""
        return bool(self._driver.recorder_has(ctypes.c_void_p(address)))

    def execute(self, stream: int, addresses: list[int], size_bytes: int) -> None:
        """Queue sum and product of what lies at the first two."""
        at = [ctypes.c_void_p(address) for address in (stream, *addresses)]
        status = self._driver.recorder_execute(*at, ctypes.c_size_t(size_bytes))
        assert status == 0, self.faults

    def fail(self, name: str, after: int = 0) -> None:
        """Let the next call of this name fail, or that after some: no memory."""
        # PyCUDA collects garbage and tries this one again.
        self._driver.recorder_fail(name.encode(), 2 if name == "cuMemAlloc" else 1, after)

    def take_faults(self) -> list[str]:
        """Return them, and forget them."""
        faults = self.faults
        self._driver.recorder_forget()
        return faults

    def devices(self, count: int) -> None:
        self._driver.recorder_devices(count)

    def _lines(self, name: str) -> list[str]:
        return getattr(self._driver, f"recorder_{name}")().decode().splitlines()

    calls = property(lambda self: self._lines("calls"))
    faults = property(lambda self: self._lines("faults"))
    sizes = property(lambda self: {int(line) for line in self._lines("sizes")})
    stack = property(lambda self: self._driver.recorder_deep())
    recording = property(lambda self: bool(self._driver.recorder_recording()))
    retained = property(lambda self: self._driver.recorder_retained())

    @property
    def left(self) -> dict[str, int]:
        """What is alive, by kind."""
        here = {kind: len(numbers) for kind, numbers in self.alive.items()}
        here |= {kind: self._driver.recorder_alive(kind.encode()) for kind in KINDS}
        return {kind: count for kind, count in here.items() if count}


@cache
def _compiled(source: str) -> Path:
    return kernels_on_cpu.compiled(source, Path(tempfile.mkdtemp(dir=_kernels())))


@cache
def _kernels() -> str:
    made = tempfile.mkdtemp(prefix="kernels-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def compilers(recorder: Recorder) -> ModuleType:
    """Return a module as cuda.bindings.nvrtc, as far as the runtime uses it.

    What the real one makes runs on no CPU: this one compiles with the host's compiler.
    """
    sources: dict[int, bytes] = {}
    log = b"kernels.cu(3): error: expected a ';'\n1 error detected\0"

    def create(src: bytes, name: bytes, number: int, headers: list, names: list) -> tuple:
        made = recorder.born("compilation")
        sources[made] = src
        return (0, made)

    def compile_program(prog: int, number: int, options: list[bytes]) -> tuple:
        assert number == len(options)
        assert b"--gpu-architecture=sm_90" in options
        recorder.compilations += 1
        if b"#error" in sources[prog]:
            return (6,)
        sources[prog] = COMPILED + str(_compiled(sources[prog].decode())).encode()
        return (0,)

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
