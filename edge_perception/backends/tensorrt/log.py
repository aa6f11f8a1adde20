"""What TensorRT writes to its logger: its calls answer only None or False, the reason is here."""

from __future__ import annotations

import threading
from typing import Any

from edge_perception.backends.tensorrt.libraries import trt
from edge_perception.core.errors import BackendError

_MOST_LINES = 3
_MOST_CHARACTERS = 600


class ErrorLog(trt.ILogger):  # type: ignore[misc, unused-ignore]
    """Keeps the errors of one session; warnings and less are dropped."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)  # the bindings refuse super() here
        self._lock = threading.Lock()  # the builder logs from threads of its own
        self._errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT; must not raise."""
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            with self._lock:
                self._errors.append(" ".join(msg.split()))

    def take(self) -> str:
        """Return the errors since the last call in one line, and forget them."""
        with self._lock:
            errors, self._errors = self._errors, []
        left = len(errors) - _MOST_LINES
        text = "; ".join(errors[:_MOST_LINES])[:_MOST_CHARACTERS]
        if left > 0:
            text += f"; and {left} more"
        return text or "TensorRT gives no reason"


def start(kind: Any, name: str, log: ErrorLog, *arguments: Any) -> Any:
    """Make an object of TensorRT that may not come about: the bindings raise a TypeError then.

    Raises:
        BackendError: it did not; the text is TensorRT's.
    """
    try:
        return kind(*arguments)
    except TypeError as error:
        raise BackendError(f"{name}: no TensorRT {kind.__name__}: {log.take()}") from error
