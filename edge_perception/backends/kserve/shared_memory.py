"""Tensors in memory that a server on the same machine maps too, so that they are not sent.

Triton's extension: https://docs.nvidia.com/deeplearning/triton-inference-server, "System Shared
Memory Extension". A region is unlinked as soon as the server has mapped it: whoever is killed,
nothing stays behind. After a failure the server may still write what nobody waits for, so that its
region is never used again.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import TensorInfo
from edge_perception.backends.kserve.remote import RemoteError
from edge_perception.backends.kserve.tensors import from_raw
from edge_perception.core.errors import BackendError

EXTENSION = "system_shared_memory"
MODES = ("auto", "true", "false")
_FOLDER = Path("/dev/shm")  # where POSIX shared memory lies on Linux, see shm_overview(7)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ALIGNED = 64
_FAREWELL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tensor lies."""

    region: str
    offset: int
    size: int

    def parameters(self) -> dict[str, str | int]:
        """Return what a request says of it; an offset of 0 is the protocol's default."""
        said: dict[str, str | int] = {
            "shared_memory_region": self.region,
            "shared_memory_byte_size": self.size,
        }
        return said | ({"shared_memory_offset": self.offset} if self.offset else {})


class Registry(Protocol):
    """The server's side, over one of the transports."""

    def extensions(self, timeout_s: float) -> tuple[str, ...]:
        """Ask what the server can do beside the protocol.

        Raises:
            RemoteError: no answer in time.
            BackendError: it answers nonsense.
        """
        ...

    def register(self, name: str, key: str, size: int, timeout_s: float) -> None:
        """Let the server map a region.

        Raises:
            RemoteError: no answer in time.
            BackendError: it does not.
        """
        ...

    def unregister(self, name: str, timeout_s: float) -> None:
        """Let the server forget a region.

        Raises:
            BackendError: as `register`.
        """
        ...


class Region:
    """Memory with a place for each tensor; the buffers of every frame."""

    def __init__(self, sizes: Mapping[str, int], registry: Registry, timeout_s: float) -> None:
        """Make it and let the server map it.

        Raises:
            RemoteError: no answer in time.
            BackendError: there is no shared memory, or the server does not take it.
        """
        self.name = f"edge_perception_{uuid.uuid4().hex}"
        self.sizes = dict(sizes)
        self.places: dict[str, Place] = {}
        at = 0
        for tensor, size in sizes.items():
            self.places[tensor] = Place(region=self.name, offset=at, size=size)
            at += -(-size // _ALIGNED) * _ALIGNED
        path = _FOLDER / self.name
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, at)  # too little of it: said now, no SIGBUS later
                self._memory = np.frombuffer(mmap.mmap(descriptor, at), np.uint8)
            finally:
                os.close(descriptor)
            registry.register(self.name, f"/{self.name}", at, timeout_s)
        except OSError as error:
            raise BackendError(f"kserve: {path}: {error.strerror}") from error
        finally:
            path.unlink(missing_ok=True)

    def put(self, tensor: str, array: NDArray) -> None:
        """Write a tensor, row by row, little-endian."""
        place = self.places[tensor]
        target = self._memory[place.offset : place.offset + place.size]
        dtype = array.dtype.newbyteorder("<")
        np.copyto(target.view(dtype).reshape(array.shape), array)

    def get(self, tensor: str, datatype: str, shape: list[int]) -> NDArray:
        """Return a copy of what the server wrote.

        Raises:
            BackendError: it says another size than there is room for.
        """
        place = self.places[tensor]
        data = self._memory[place.offset : place.offset + place.size]
        return from_raw(tensor, datatype, shape, data.data)


class SharedTensors:
    """The region of a connection: made when it is needed, used for every frame, given back."""

    def __init__(self, mode: str, host: str, registry: Registry) -> None:
        """Make nothing yet.

        Args:
            mode: auto: on a loopback address; true: on any, as it is this machine; false: never.
            host: the server's.
            registry: the server's side.
        """
        self._asked = mode == "true" or (mode == "auto" and host in _LOOPBACK)
        self._wanted, self._registry = mode == "true", registry
        self._region: Region | None = None
        self._stale: list[str] = []
        self.offered: bool | None = None if self._asked else False  # None: not known yet
        self._why_not = ""

    @property
    def note(self) -> str:
        """Why it is not used although it was asked for; empty: it is, or was not."""
        return f"shared_memory: {self._why_not}" if self._wanted and self._why_not else ""

    @property
    def used(self) -> bool:
        """Whether the last frame lay in it."""
        return self._region is not None

    def offers(self, extensions: tuple[str, ...]) -> None:
        """Take what the server can do."""
        if not self._asked:
            return
        self.offered = EXTENSION in extensions
        self._why_not = "" if self.offered else "the server does not offer it"

    def carry(
        self,
        inputs: Mapping[str, NDArray],
        outputs: tuple[TensorInfo, ...],
        timeout_s: float,
        run: Callable[[Region | None, float], dict[str, NDArray]],
    ) -> dict[str, NDArray]:
        """Run a frame with its tensors in the region, else with tensors that are sent.

        A server that refuses the frame with the region, because it restarted and lost it, is asked
        once more without. After no answer the region is given up, and the next server asked anew.

        Args:
            inputs: of the frame.
            outputs: those that are asked for.
            timeout_s: for everything.
            run: runs the frame; is given the region with the inputs in it or None, and the seconds
                that are left.

        Raises:
            RemoteError: no answer in time.
            BackendError: as `run`.
        """
        end_s = time.monotonic() + timeout_s
        try:
            if self.offered is None:
                self.offers(self._registry.extensions(_left(end_s)))
            region = self._filled(inputs, outputs, _left(end_s))
            try:
                found = run(region, _left(end_s))
            except RemoteError:
                raise
            except BackendError:
                if region is None:
                    raise
                self._abandon()
                found = run(None, _left(end_s))
        except RemoteError:
            self._abandon()
            if self._asked:
                self.offered = None  # who answers next may be another one
            raise
        self._tidy()
        return found

    def _filled(
        self, inputs: Mapping[str, NDArray], outputs: tuple[TensorInfo, ...], timeout_s: float
    ) -> Region | None:
        """Return the region with the inputs in it; None: tensors are sent.

        Outputs whose size only the server knows have no place in it.

        Raises:
            RemoteError: the server does not answer.
        """
        if not self.offered:
            return None
        sizes = {name: array.nbytes for name, array in inputs.items()}
        for info in outputs:
            if all(size > 0 for size in info.shape):
                sizes[info.name] = math.prod(info.shape) * np.dtype(info.dtype).itemsize
        sizes = {name: size for name, size in sizes.items() if size}
        if self._region is None or self._region.sizes != sizes:
            self._abandon()
            try:
                self._region = Region(sizes, self._registry, timeout_s)
            except RemoteError:
                raise
            except BackendError as error:
                self.offered, self._why_not = False, str(error)
                return None
        for name, array in inputs.items():
            if array.nbytes:
                self._region.put(name, array)
        return self._region

    def _abandon(self) -> None:
        """Use the region no more: the server may still write into it, or has lost it."""
        if self._region is not None:
            self._stale.append(self._region.name)
            self._region = None

    def _tidy(self) -> None:
        """Give back what was abandoned: after an answer nothing is in work."""
        stale, self._stale = self._stale, []
        for name in stale:
            with contextlib.suppress(BackendError):  # a restarted server does not know it
                self._registry.unregister(name, _FAREWELL_S)

    def close(self) -> None:
        """Give everything back."""
        self._abandon()
        self._tidy()


def _left(end_s: float) -> float:
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise RemoteError("kserve: deadline passed")
    return left_s
