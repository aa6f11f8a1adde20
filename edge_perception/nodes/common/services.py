"""Service callbacks that always answer: what one raises becomes a refusal, not the node's end."""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter

from edge_perception.core.health import Health, Level, worst

Callback = Callable[[Any, Any], Any]
_TOLD_S = 10.0  # how long diagnostics tell of a request


class RequestNotes:
    """The last request that was refused or failed, for the log and for diagnostics."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last: tuple[Level, str, int] | None = None  # with the steady clock

    def refused(self, text: str) -> None:
        """Note a request that was refused: the caller's mistake, and the node is well."""
        self._node.get_logger().warning(text)
        self._last = (Level.OK, text, time.monotonic_ns())

    def failed(self, what: str, error: Exception) -> None:
        """Note a callback that raised, which none should."""
        text = f"{what}: {error!r}"
        if self._last is None or self._last[1] != text:
            trace = "".join(traceback.format_exception(error))
            self._node.get_logger().error(f"{text}\n{trace}")
        self._last = (Level.WARN, text, time.monotonic_ns())

    def told_in(self, health: Health) -> Health:
        """Return the health of the node with the note, while it is young."""
        last = self._last
        if last is None or (time.monotonic_ns() - last[2]) / 1e9 > _TOLD_S:
            return health
        level, text, _ = last
        health = replace(health, values={**health.values, "request": text})
        return health if level is Level.OK else worst(health, Health(level=level, message=text))


def answering(callback: Callback, on_error: Callable[[Exception], None]) -> Callback:
    """Return a callback that answers also where `callback` raises.

    Args:
        callback: of a service; may be a coroutine function.
        on_error: is told what it raised.
    """
    if inspect.iscoroutinefunction(callback):

        async def answer_later(request: Any, response: Any) -> Any:
            try:
                return await callback(request, response)
            except Exception as error:
                on_error(error)
                return _refusal(request, response, repr(error))

        return answer_later

    def answer(request: Any, response: Any) -> Any:
        if isinstance(request, SetParameters.Request) and len(request.parameters) > 1:
            # Each parameter stands for itself: one that raises must not hide what became of others.
            for parameter in request.parameters:
                alone = SetParameters.Request(parameters=[parameter])
                response.results.extend(answer(alone, SetParameters.Response()).results)
            return response
        unknown = _unknown_type(request)
        if unknown:  # rclpy raises
            return _refusal(request, response, unknown)
        try:
            return callback(request, response)
        except Exception as error:
            on_error(error)
            return _refusal(request, response, repr(error))

    return answer


def _unknown_type(request: Any) -> str:
    """Name a parameter of a request whose value has no known type; empty: all have."""
    if not isinstance(request, (SetParameters.Request, SetParametersAtomically.Request)):
        return ""
    known = {each.value for each in Parameter.Type}
    for parameter in request.parameters:
        if parameter.value.type not in known:
            return (
                f"{parameter.name}: expected a type of {sorted(known)}, got {parameter.value.type}"
            )
    return ""


def _refusal(request: Any, response: Any, reason: str) -> Any:
    """Return a fresh response that says no, with the reason where the type has room for one."""
    response = type(response)()
    refused = SetParametersResult(successful=False, reason=reason)
    if isinstance(request, SetParameters.Request):
        response.results = [refused for _ in request.parameters]
    elif isinstance(getattr(response, "result", None), SetParametersResult):
        response.result = refused
    if isinstance(getattr(response, "reason", None), str):
        response.reason = reason
    return response
