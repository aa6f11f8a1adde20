"""An executor that no callback ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.executors import (
    ConditionReachedException,
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.node import Node

_FAILURES_IN_A_ROW = 100  # of waiting itself: then nothing works any more


class EnduringExecutor(SingleThreadedExecutor):
    """Goes on after whatever a callback raises, and after what cannot be taken.

    rclpy's own leaves `spin` with the first exception: one request would end every node of a
    process.
    """

    def __init__(self, on_error: Callable[[Node | None, str, Exception], None], **kwargs: Any):
        """Make it.

        Args:
            on_error: takes the node, what it was doing, and what was raised.
            kwargs: for rclpy's executor.
        """
        super().__init__(**kwargs)
        self._on_error = on_error
        self._failures = 0

    def spin_until(self, done: Callable[[], bool]) -> None:
        """Run callbacks until `done`, which is looked at after each and after each `wake`.

        Raises:
            ExternalShutdownException: the context has ended.
        """
        while not done() and self.context.ok():
            self._spin_once_impl(None, done)

    def _spin_once_impl(
        self, timeout_sec: Any = None, wait_condition: Callable[[], bool] = lambda: False
    ) -> None:
        # All ways to spin end here.
        try:
            task, entity, node = self.wait_for_ready_callbacks(timeout_sec, None, wait_condition)
        except (ShutdownException, TimeoutException, ConditionReachedException):
            return
        except ExternalShutdownException:
            raise
        except Exception as error:  # an entity that was destroyed meanwhile, for example
            self._failures += 1
            if self._failures >= _FAILURES_IN_A_ROW:
                raise
            self._on_error(None, "wait", error)
            return
        self._failures = 0
        task()
        failure = task.exception()
        if isinstance(failure, ExternalShutdownException):
            raise failure
        if failure is not None:
            self._on_error(node, _name(entity), failure)

    # What cannot be taken (a request with broken bytes) must be noted inside of the task: an
    # exception there leaves the entity marked as in work, and it is never asked again.

    def _take_service(self, srv: Any) -> Any:
        return self._taken(super()._take_service, srv)

    def _take_subscription(self, sub: Any) -> Any:
        return self._taken(super()._take_subscription, sub)

    def _take_client(self, client: Any) -> Any:
        return self._taken(super()._take_client, client)

    def _take_waitable(self, waitable: Any) -> Any:
        return self._taken(super()._take_waitable, waitable)

    def _taken(self, take: Callable[[Any], Any], entity: Any) -> Any:
        try:
            return take(entity)
        except Exception as error:
            self._on_error(None, _name(entity), error)
            return None


def _name(entity: Any) -> str:
    """Name a service or topic; else the kind of entity."""
    for attribute in ("service_name", "srv_name", "topic_name", "topic"):
        name = getattr(entity, attribute, None)
        if isinstance(name, str):
            return name
    return type(entity).__name__ if entity is not None else "task"
