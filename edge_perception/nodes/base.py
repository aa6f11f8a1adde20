"""What every node of this package does alike: lifecycle, autostart, diagnostics, parameters."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from edge_perception.core.clock import SystemClock
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.health import Health, Level
from edge_perception.nodes.diagnostics import Diagnostics
from edge_perception.nodes.node_time import NodeTime
from edge_perception.nodes.parameters import ParameterSet
from edge_perception.running.node_options import NodeOptions

C = TypeVar("C")


class PerceptionNode(LifecycleNode):
    """A lifecycle node whose failures are said in the log and in diagnostics, never swallowed.

    A subclass implements `configure`, `activate`, `deactivate`, `cleanup` and `health`.
    """

    def __init__(self, name: str, **kwargs) -> None:
        self._parameter_sets: list[ParameterSet] = []
        super().__init__(name, **kwargs)
        self.clock = SystemClock(NodeTime(self))
        self.is_active = False
        self._failure = ""
        self._node_options = self.declare_parameters_of(NodeOptions).config
        self.diagnostics = Diagnostics(self, self._health)

    # -- for subclasses --

    def configure(self) -> None:
        """Load what is needed to run."""

    def activate(self) -> None:
        """Subscribe and start."""

    def deactivate(self) -> None:
        """Stop and unsubscribe."""

    def cleanup(self) -> None:
        """Release what `configure` loaded."""

    def health(self) -> Health:
        """Return the health of the active node."""
        raise TypeError(f"{type(self).__name__} has no health()")

    def declare_parameters_of(
        self,
        cls: type[C],
        *,
        prefix: str = "",
        defaults: dict[str, object] | None = None,
        on_change: Callable[[C], None] | None = None,
    ) -> ParameterSet[C]:
        """Declare the fields of a dataclass as parameters."""
        parameters = ParameterSet(self, cls, prefix=prefix, defaults=defaults, on_change=on_change)
        self._parameter_sets.append(parameters)
        return parameters

    # -- lifecycle --

    def autostart(self) -> None:
        """Say how the node is from now on; configure and activate, where the parameter says so."""
        self.diagnostics.start()
        if not self._node_options.autostart:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`."""
        return self._transition(self.configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        result = self._transition(self.activate, super().on_activate, state)
        self.is_active = result == TransitionCallbackReturn.SUCCESS
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        self.is_active = False
        return self._transition(self.deactivate, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup`."""
        return self._transition(self.cleanup, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release, from whatever state."""
        self._release()
        return super().on_shutdown(state)

    def close(self) -> None:
        """Stop and release; safe in every state and more than once."""
        self.diagnostics.stop()
        self._release()

    def _release(self) -> None:
        if self.is_active:
            self.is_active = False
            self.deactivate()
        self.cleanup()

    def _transition(
        self,
        step: Callable[[], None],
        parent: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
    ) -> TransitionCallbackReturn:
        # rclpy drops what a callback raises, so it is said here.
        try:
            step()
        except EdgePerceptionError as error:
            self._failure = f"{step.__name__} failed: {error}"
            self.get_logger().error(self._failure)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self._failure = f"{step.__name__} failed: {error!r}"
            self.get_logger().fatal(f"{self._failure}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self._failure = ""
        return parent(state)

    # -- diagnostics and parameters --

    def _health(self) -> Health:
        if self._failure:
            return Health(level=Level.ERROR, message=self._failure)
        if not self.is_active:
            return Health(level=Level.WARN, message="not active")
        return self.health()

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set all or none; a refusal names the allowed range, which rclpy's own does not."""
        for parameters in self._parameter_sets:
            reason = parameters.refusal(parameter_list)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        return super().set_parameters_atomically(parameter_list)
