"""A graph input made by kernels of the backend, and the CPU where that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol, runtime_checkable

from edge_perception.backends import Backend
from edge_perception.backends.device_program import DeviceProgram, run_program
from edge_perception.core.errors import BackendError


class DeviceInput:
    """What one encoder's session runs in the place of preprocessing on the CPU. Not thread-safe."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._key: Hashable = None
        self._program: DeviceProgram | None = None
        self.note = ""  # why the CPU serves; empty: it need not

    def ready(self, key: Hashable, make: Callable[[], DeviceProgram]) -> bool:
        """Whether kernels serve a frame; what failed once is not tried again.

        Args:
            key: what the program depends on; the same key is the same program.
            make: makes it.
        """
        if self.note:
            return False
        try:
            if self._program is None or key != self._key:
                self._program, self._key = make(), key
            run_program(self._backend, self._program)
        except BackendError as error:
            self.note = f"preprocessing runs on the CPU: {error}"
            return False
        return True


@runtime_checkable
class UsesDevice(Protocol):
    """An encoder that has kernels for its preprocessing."""

    def use_device(self, device: DeviceInput) -> None:
        """Prepare frames by kernels from now on; then `preprocess` returns what they take."""
        ...
