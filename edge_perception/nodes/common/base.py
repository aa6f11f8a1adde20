"""What every node of this package does alike: lifecycle, autostart, diagnostics, parameters."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from edge_perception.core.clock import SystemClock
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.health import Health, Level, with_findings
from edge_perception.core.plugins import add_plugin_folders
from edge_perception.nodes.common.bond import Bond
from edge_perception.nodes.common.diagnostics import Diagnostics
from edge_perception.nodes.common.node_log import NodeLog
from edge_perception.nodes.common.node_time import NodeTime
from edge_perception.nodes.common.parameters import ParameterSet
from edge_perception.nodes.common.services import Callback, RequestNotes, answering
from edge_perception.nodes.topics.endpoints import Rivals
from edge_perception.running.node_options import NodeOptions

C = TypeVar("C")


class PerceptionNode(LifecycleNode):
    """A lifecycle node whose failures are said in the log and in diagnostics, never swallowed.

    A subclass implements `configure`, `activate`, `deactivate`, `cleanup` and `health`.
    """

    # Between questions for the health; nodes on which nothing waits may be asked less often.
    HEALTH_PERIOD_S = Diagnostics.CHECK_PERIOD_S

    def __init__(self, name: str, **kwargs: Any) -> None:
        self._parameter_sets: list[ParameterSet] = []
        self._log: NodeLog | None = None
        self._requests = RequestNotes(self)
        super().__init__(name, **kwargs)
        for service in self.services:
            # Those of the lifecycle are not made by `create_service`.
            if service.srv_type is ChangeState:
                service.callback = self._on_change_state(service.callback)
            service.callback = self._answering(service.srv_name, service.callback)
        self.clock = SystemClock(NodeTime(self))
        self.is_active = False
        self._started = False  # `activate` was called, and `deactivate` not since
        self._failure = ""
        self.expected_name = ""  # by which others find it; empty: nobody looks for it
        self._node_options = self.declare_parameters_of(
            NodeOptions, on_change=lambda options: self.get_logger().configure(options)
        ).config
        self._log = NodeLog(super().get_logger(), self._node_options)
        add_plugin_folders(self._node_options.plugin_folders)
        self._bond = Bond(self, self._node_options.bond_period_s)
        self.rivals = Rivals(self)
        self.diagnostics = Diagnostics(
            self,
            self._health,
            check_period_s=self.HEALTH_PERIOD_S,
            on_check=self._log.tick,
            on_worse=self._log.anomaly,
        )

    def get_logger(self) -> Any:
        """Return the logger: a `NodeLog`, and rclpy's own while the node is made."""
        return self._log or super().get_logger()

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
        held: Callable[[], str] = lambda: "",
    ) -> ParameterSet[C]:
        """Declare the fields of a dataclass as parameters; `held` says why they cannot change."""
        parameters = ParameterSet(
            self,
            cls,
            prefix=prefix,
            defaults=defaults,
            on_change=on_change,
            configurable=lambda: self.state == "unconfigured",
            held=held,
        )
        self._parameter_sets.append(parameters)
        return parameters

    # -- lifecycle --

    @property
    def state(self) -> str:
        """State of the lifecycle, for example `inactive`."""
        return str(self._state_machine.current_state[1])

    def autostart(self) -> None:
        """Say how the node is from now on; configure and activate, where the parameter says so."""
        self.diagnostics.start()
        if not self._node_options.autostart:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `configure`."""
        return self._transition(self.configure, super().on_configure, state, undo=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `activate`."""
        self._started = True
        result = self._transition(self.activate, super().on_activate, state, undo=self._stop)
        self.is_active = result == TransitionCallbackReturn.SUCCESS
        if self.is_active:
            self._bond.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `deactivate`."""
        return self._transition(self._stop, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `cleanup`."""
        return self._transition(self.cleanup, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release, from whatever state."""
        return self._transition(self._release, super().on_shutdown, state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release what the transition that failed has left; the node can be configured again."""
        failure = self._failure
        result = self._transition(self._release, super().on_error, state)
        self._failure = failure or self._failure
        return result

    def close(self) -> None:
        """Stop and release; safe in every state and more than once."""
        self.diagnostics.stop()
        self._release()
        if self._log is not None:
            self._log.close()

    def destroy_node(self) -> None:
        """Destroy the node, and with the last one of its context the participant.

        rclpy forgets the state machine of the lifecycle, which holds the node: its name would stay
        in the graph for 20 s, until the lease of the participant ends.
        """
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def _release(self) -> None:
        self._stop()
        self.cleanup()

    def _stop(self) -> None:
        self.is_active = False
        self._bond.end()
        if self._started:
            self._started = False
            self.deactivate()

    def _transition(
        self,
        step: Callable[[], None],
        parent: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
        undo: Callable[[], None] | None = None,
    ) -> TransitionCallbackReturn:
        # rclpy drops what a callback raises, so it is said here.
        name = step.__name__.lstrip("_")
        try:
            step()
        except EdgePerceptionError as error:
            self._failure = f"{name} failed: {error}"
            self.get_logger().error(self._failure)
            # Half of a step must not be left. Without a way back the node cannot stay in its state.
            return TransitionCallbackReturn.ERROR if undo is None else self._undone(undo)
        except Exception as error:
            self._failure = f"{name} failed: {error!r}"
            self.get_logger().fatal(f"{self._failure}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self._failure = ""
        return parent(state)

    def _undone(self, undo: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            undo()
        except Exception:
            self.get_logger().fatal(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.FAILURE

    def _on_change_state(self, change: Callback) -> Callback:
        """Refuse what the present state does not have; rclpy raises there."""

        def answer(request: ChangeState.Request, response: ChangeState.Response) -> Any:
            possible = {t[0]: t[1] for t in self._state_machine.available_transitions}
            asked = request.transition
            known = asked.label in possible.values() if asked.label else asked.id in possible
            if known:
                return change(request, response)
            self._requests.refused(
                f"change_state: {asked.label or asked.id} is not possible while {self.state}; "
                f"possible: {', '.join(possible.values()) or 'nothing, it was shut down'}",
            )
            response.success = False
            return response

        return answer

    # -- services --

    def create_service(
        self, srv_type: Any, srv_name: str, callback: Callback, **kwargs: Any
    ) -> Any:
        """Create a service that answers also where its callback raises."""
        callback = self._answering(srv_name, callback)
        return super().create_service(srv_type, srv_name, callback, **kwargs)

    def _answering(self, name: str, callback: Callback) -> Callback:
        return answering(callback, lambda error: self.on_callback_error(name, error))

    def on_callback_error(self, what: str, error: Exception) -> None:
        """Say that a callback raised, which none should: in the log, and in diagnostics."""
        self._requests.failed(what, error)

    # -- diagnostics and parameters --

    def _health(self) -> Health:
        return self._requests.told_in(self._own_health())

    def _own_health(self) -> Health:
        if self._failure:
            return Health(level=Level.ERROR, message=self._failure)
        if not self.is_active:
            return Health(level=Level.WARN, message=f"not active: {self.state}")
        return with_findings(self.health(), [*self.rivals.findings(), *self._misnamed()])

    def _misnamed(self) -> list[Health]:
        """Return a warning where others look for the node by another name."""
        if self.expected_name in ("", self.get_name()):
            return []
        text = (
            f"called '{self.get_name()}' and not '{self.expected_name}': doctor, metrics, top, "
            "record and the fleet find nodes by their names"
        )
        return [Health(level=Level.WARN, message=text)]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set all or none; a refusal names the allowed range, which rclpy's own does not."""
        for parameter in parameter_list:
            if not self.has_parameter(parameter.name):
                reason = f"{parameter.name}: no such parameter of {self.get_name()}"
                return SetParametersResult(successful=False, reason=reason)
            if parameter.type_ is Parameter.Type.NOT_SET:
                reason = f"{parameter.name}: a parameter cannot be removed"
                return SetParametersResult(successful=False, reason=reason)
        for parameters in self._parameter_sets:
            parameter_list = [parameters.typed(parameter) for parameter in parameter_list]
            reason = parameters.refusal(parameter_list)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        return super().set_parameters_atomically(parameter_list)
