"""Runs a WebAssembly module in a sandbox: nothing imported, limits of fuel, memory and time.

The module sees the tensors of a frame in its own memory and writes rows of numbers there
(src/wasm/ep_adapter.h). It has no file, no clock, no network, no randomness: with the same tensors
it gives the same rows. After a stop its instance is thrown away, the next frame gets a new one.
"""

from __future__ import annotations

import ctypes
import math
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.extras import extra

ABI = 1
_MAX_RANK = 6
_FUNCTIONS = ("ep_abi", "ep_alloc", "ep_decode")
_TENSOR = struct.Struct(f"<Ii{_MAX_RANK}i")
_REQUEST = struct.Struct("<iiifiIiIiI")
_TICK_S, _IDLE_TICKS = 0.01, 100
_LARGEST_MODULE = 4 << 20
# Tables of references lie outside of the module's memory, 8 bytes an element: growing one costs
# next to no fuel, so without a limit of its own it takes all memory of the node.
_TABLES, _TABLE_ELEMENTS = 4, 10_000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a module may use for one frame."""

    fuel: int  # instructions, roughly
    memory_bytes: int
    time_s: float


class WasmModule:
    """One module with buffers for tensors of fixed shapes. One thread uses it."""

    def __init__(
        self,
        name: str,
        code: bytes,
        *,
        limits: Limits,
        shapes: Sequence[tuple[int, ...]],
        header: tuple[int, int, int],
        options: Sequence[float],
        rows: int,
        columns: int,
    ) -> None:
        """Compile it; nothing of it runs yet but what makes an instance.

        Args:
            name: for messages.
            code: the module.
            limits: for one frame, and for making an instance.
            shapes: of the tensors.
            header: width and height of the image input, px, and the number of labels.
            options: numbers that the module asks for.
            rows: at most.
            columns: numbers a row.

        Raises:
            ManifestError: it is no module, wants something from outside, or lacks a function.
            MissingExtraError: the runtime is not installed.
        """
        with extra("wasm"):
            import wasmtime
        self._wasmtime: Any = wasmtime
        self._name, self._limits = name, limits
        self._shapes, self._header = tuple(shapes), header
        self._options, self._rows, self._columns = tuple(options), rows, columns
        if any(len(shape) > _MAX_RANK for shape in shapes):
            raise ManifestError(
                f"{name}: expected tensors of at most {_MAX_RANK} axes, got {shapes}"
            )
        if len(code) > _LARGEST_MODULE:
            raise ManifestError(
                f"{name}: expected at most {_LARGEST_MODULE} bytes, got {len(code)}"
            )
        config = wasmtime.Config()
        config.consume_fuel = True
        config.epoch_interruption = True
        config.wasm_threads = False
        self._engine = wasmtime.Engine(config)
        try:
            self._module = wasmtime.Module(self._engine, code)
        except wasmtime.WasmtimeError as error:
            raise ManifestError(
                f"{name}: expected a WebAssembly module: {_first(error)}"
            ) from error
        wanted = [f"{item.module}.{item.name}" for item in self._module.imports]
        if wanted:
            raise ManifestError(
                f"{name}: imports {', '.join(wanted[:4])}: an adapter gets nothing from outside"
            )
        self._watch = _Watch(self._engine)
        self._live: _Instance | None = None
        try:
            self._live = self._instance()
        except InvalidOutputError as error:
            raise ManifestError(str(error)) from error

    def __call__(self, tensors: Sequence[NDArray], least: float) -> NDArray[np.float32]:
        """Return the rows of a frame, (N, columns); the next call overwrites them.

        Args:
            tensors: float32, of the shapes that were given.
            least: rows with a lower score may be left out.

        Raises:
            InvalidOutputError: the module was stopped, failed, or its answer is none.
        """
        live = self._live if self._live is not None else self._instance()
        self._live = None  # a module that was stopped in the middle is not used again
        found = live.decode(tensors, least)
        self._live = live
        return found

    def _instance(self) -> _Instance:
        return _Instance(self)


class _Instance:
    """A running module with its memory."""

    def __init__(self, of: WasmModule) -> None:
        self._of = of
        self._views: dict[int, tuple[int, NDArray[np.float32]]] = {}
        wasmtime = of._wasmtime
        self._store = wasmtime.Store(of._engine)
        self._store.set_limits(
            memory_size=of._limits.memory_bytes,
            memories=1,
            instances=1,
            tables=_TABLES,
            table_elements=_TABLE_ELEMENTS,
        )
        exports = self._guarded(lambda: wasmtime.Instance(self._store, of._module, [])).exports(
            self._store
        )
        self._memory = exports.get("memory")
        lacking = [n for n in _FUNCTIONS if not isinstance(exports.get(n), wasmtime.Func)]
        if not isinstance(self._memory, wasmtime.Memory):
            lacking.append("memory")
        if lacking:
            raise ManifestError(f"{of._name}: lacks the exports {', '.join(lacking)}")
        abi = self._call(exports["ep_abi"])
        if abi != ABI:
            raise ManifestError(f"{of._name}: expected interface {ABI}, got {abi}")
        self._alloc, self._decode = exports["ep_alloc"], exports["ep_decode"]
        sizes = [4 * math.prod(shape) for shape in of._shapes]
        self._tensors = [self._reserve(size) for size in sizes]
        self._out = self._reserve(4 * of._rows * of._columns)
        options = self._reserve(4 * max(len(of._options), 1))
        table = self._reserve(_TENSOR.size * max(len(sizes), 1))
        self._request = self._reserve(_REQUEST.size)
        self._put(options, np.asarray(of._options, "<f4").tobytes())
        packed = [
            _TENSOR.pack(at, len(shape), *shape, *(0,) * (_MAX_RANK - len(shape)))
            for at, shape in zip(self._tensors, of._shapes, strict=True)
        ]
        self._put(table, b"".join(packed))
        self._rest = (len(of._options), options, len(sizes), table, of._rows, self._out)

    def decode(self, tensors: Sequence[NDArray], least: float) -> NDArray[np.float32]:
        of = self._of
        for at, shape, tensor in zip(self._tensors, of._shapes, tensors, strict=True):
            if tensor.shape != shape:
                raise InvalidOutputError(f"{of._name}: expected {shape}, got {tensor.shape}")
            np.copyto(self._floats(at, tensor.size), tensor.reshape(-1), casting="same_kind")
        self._put(self._request, _REQUEST.pack(*of._header, least, *self._rest))
        count = self._call(self._decode, self._request)
        if not 0 <= count <= of._rows:
            raise InvalidOutputError(
                f"{of._name}: expected 0 to {of._rows} rows, got {count}: it refuses its input"
            )
        rows = self._floats(self._out, of._rows * of._columns)
        return rows[: count * of._columns].reshape(count, of._columns)

    def _reserve(self, size: int) -> int:
        """Return where the module keeps `size` bytes for the host."""
        at = int(self._call(self._alloc, size)) & 0xFFFFFFFF
        if at == 0 or at % 4 or at + size > self._memory.data_len(self._store):
            raise InvalidOutputError(
                f"{self._of._name}: stopped: no room for {size} bytes in its "
                f"{self._of._limits.memory_bytes} bytes of memory"
            )
        return at

    def _put(self, at: int, data: bytes) -> None:
        ctypes.memmove(self._address(at, len(data)), data, len(data))

    def _floats(self, at: int, count: int) -> NDArray[np.float32]:
        """Return numbers in the module's memory; a view that was made is good while it stays."""
        address = self._address(at, 4 * count)
        known = self._views.get(at)
        if known is None or known[0] != address:
            kind = ctypes.c_float * count
            known = (address, np.ctypeslib.as_array(kind.from_address(address)))
            self._views[at] = known
        return known[1]

    def _address(self, at: int, size: int) -> int:
        """Return an address of this process; the memory may have moved since the last call."""
        if at < 0 or at + size > self._memory.data_len(self._store):
            raise InvalidOutputError(f"{self._of._name}: its memory became smaller")
        base = ctypes.cast(self._memory.data_ptr(self._store), ctypes.c_void_p).value
        assert base is not None
        return base + at

    def _call(self, function: Any, *values: int) -> int:
        result = self._guarded(lambda: function(self._store, *values))
        if not isinstance(result, int):
            raise InvalidOutputError(f"{self._of._name}: expected a whole number, got {result!r}")
        return result

    def _guarded(self, work: Any) -> Any:
        """Run the module with fresh fuel and time; say by name what stopped it."""
        of, wasmtime = self._of, self._of._wasmtime
        self._store.set_fuel(of._limits.fuel)
        self._store.set_epoch_deadline(math.ceil(of._limits.time_s / _TICK_S) + 1)
        try:
            with of._watch:
                return work()
        except wasmtime.Trap as trap:
            raise InvalidOutputError(f"{of._name}: stopped: {self._why(trap)}") from trap
        except (wasmtime.WasmtimeError, TypeError) as error:
            raise InvalidOutputError(f"{of._name}: stopped: {_first(error)}") from error

    def _why(self, trap: Any) -> str:
        codes, limits = self._of._wasmtime.TrapCode, self._of._limits
        memory = f"{limits.memory_bytes >> 10} KiB"
        known = {
            codes.OUT_OF_FUEL: f"it used up its fuel of {limits.fuel}",
            codes.INTERRUPT: f"it took more than {limits.time_s * 1e3:g} ms",
            codes.MEMORY_OUT_OF_BOUNDS: f"it reached outside of its memory (at most {memory})",
            codes.STACK_OVERFLOW: "its stack overflowed",
            codes.UNREACHABLE: "it gave up (unreachable)",
            codes.INTEGER_DIVISION_BY_ZERO: "it divided by zero",
        }
        return known.get(trap.trap_code, _first(trap))


class _Watch:
    """Lets the engine's clock tick while modules run.

    Its thread is woken once and goes on between the frames of a stream, as waking it each time
    would cost more than most modules take; it ends when nothing ran for a second.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._used = False  # since the last tick
        self._running = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._used = self._running = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._tick, name="wasm watch", daemon=True)
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._running = False

    def _tick(self) -> None:
        idle = 0
        while True:
            time.sleep(_TICK_S)
            self._engine.increment_epoch()
            with self._lock:
                idle = 0 if self._used or self._running else idle + 1
                self._used = False
                if idle > _IDLE_TICKS:
                    self._thread = None
                    return


def _first(error: object) -> str:
    return " ".join(str(error).split())[:160]
