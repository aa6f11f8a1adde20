"""A session that several sources use although its runtime takes one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from numpy.typing import NDArray

from edge_perception.backends.contract import Backend, BackendInfo


class OneAtATime:
    """Lets one source after the other run. From any thread."""

    def __init__(self, backend: Backend) -> None:
        """Guard a session, which belongs to this one from now on."""
        self._backend = backend
        self._lock = threading.Lock()

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors, between the runs of others.

        Raises:
            BackendError: as of the session.
        """
        with self._lock:
            self._backend.warm_up(runs)

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model when nobody else does.

        Raises:
            BackendError: as of the session.
        """
        with self._lock:
            return self._backend.infer(inputs)

    def describe(self) -> BackendInfo:
        """Return what is really running."""
        return self._backend.describe()

    def close(self) -> None:
        """Release the session, also one whose run hangs: nobody uses it any more."""
        self._backend.close()
