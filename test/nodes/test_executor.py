"""Nothing that a callback raises, and nothing that cannot be taken, ends the executor."""

from __future__ import annotations

import threading

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from harness import wait_until
from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from edge_perception.nodes.common.base import PerceptionNode
from edge_perception.nodes.common.services import answering
from edge_perception.srv import SwapModel


class Failing(Node):
    """A node that does not guard itself."""

    def __init__(self, **kwargs):
        super().__init__("failing", **kwargs)
        self.service = self.create_service(Trigger, "~/good", lambda _, response: response)
        self.create_service(Trigger, "~/bad", self._on_bad)

    def autostart(self):
        pass

    def close(self):
        pass

    def _on_bad(self, request, response):
        raise KeyError("bad")


def test_a_callback_that_raises_ends_nothing(harness):
    harness.add(Failing)
    harness.start()
    with pytest.raises(AssertionError, match="no answer"):
        harness.call(Trigger, "/failing/bad", Trigger.Request(), timeout_s=0.5)
    assert harness.call(Trigger, "/failing/good", Trigger.Request()) is not None
    wait_until(lambda: harness.callback_errors, "the error is told")
    assert "/failing/bad: KeyError('bad')" in harness.callback_errors[0]


def test_a_request_that_cannot_be_read_does_not_make_the_service_deaf(harness):
    node = harness.add(Failing)
    taken = threading.Event()

    class Broken:
        """The service's handle, whose first request has broken bytes."""

        def __getattr__(self, name):
            return getattr(node_handle, name)

        def __enter__(self):
            return node_handle.__enter__()

        def __exit__(self, *args):
            return node_handle.__exit__(*args)

        def service_take_request(self, type_):
            if not taken.is_set():
                node_handle.service_take_request(type_)
                taken.set()
                raise RuntimeError("broken bytes")
            return node_handle.service_take_request(type_)

    service = node.service
    node_handle, service._Service__service = service.handle, Broken()
    harness.start()
    with pytest.raises(AssertionError, match="no answer"):
        harness.call(Trigger, "/failing/good", Trigger.Request(), timeout_s=0.5)
    assert taken.wait(60)
    wait_until(lambda: harness.callback_errors, "the error is told")
    assert "broken bytes" in harness.callback_errors[0]
    assert harness.call(Trigger, "/failing/good", Trigger.Request()) is not None


def refuse(type_, request=None):
    def callback(_request, response):
        if hasattr(response, "success"):
            response.success = True
        raise ValueError("no")

    told = []
    response = answering(callback, told.append)(request or type_.Request(), type_.Response())
    return response, told


def test_a_failed_request_is_refused_with_the_reason_not_half_answered():
    for type_ in (Trigger, SetBool):
        response, told = refuse(type_)
        assert not response.success
        assert repr(told[0]) == "ValueError('no')"
    response, _ = refuse(SwapModel)
    assert (response.success, response.reason) == (False, "ValueError('no')")


def test_each_parameter_of_a_failed_request_is_refused():
    request = SetParameters.Request(parameters=_parameters(2))
    response, _ = refuse(SetParameters, request)
    assert [result.successful for result in response.results] == [False, False]
    request = SetParametersAtomically.Request(parameters=_parameters(1))
    response, _ = refuse(SetParametersAtomically, request)
    assert response.result.reason == "ValueError('no')"


def _parameters(count):
    return [Parameter(name=f"p{index}") for index in range(count)]


class Quiet(PerceptionNode):
    def __init__(self, **kwargs):
        super().__init__("quiet", **kwargs)
        self.create_service(Trigger, "~/bad", self._on_bad)
        self.steps = []
        self.broken = ""

    def _on_bad(self, request, response):
        raise KeyError("bad")

    def health(self):
        raise KeyError("health")

    def _step(self, name):
        self.steps.append(name)
        if name == self.broken:
            raise RuntimeError(name)

    def configure(self):
        self._step("configure")

    def activate(self):
        self._step("activate")

    def deactivate(self):
        self._step("deactivate")

    def cleanup(self):
        self._step("cleanup")


def test_a_service_that_raises_is_answered_and_told_in_diagnostics(harness):
    node = harness.add(Quiet, parameters={"autostart": False})
    harness.start()
    assert harness.call(Trigger, "/quiet/bad", Trigger.Request()).success is False
    health = node._health()
    assert "~/bad: KeyError('bad')" in health.message
    assert health.level == 1


@pytest.mark.parametrize(
    ("broken", "steps", "state"),
    [
        ("activate", ["configure", "activate", "deactivate", "cleanup"], "unconfigured"),
        ("configure", ["configure", "cleanup"], "unconfigured"),
        ("cleanup", ["configure", "activate", "deactivate", "cleanup", "cleanup"], "finalized"),
    ],
)
def test_a_step_that_raises_leaves_nothing_half_done(harness, broken, steps, state):
    node = harness.add(Quiet, parameters={"autostart": False})
    node.broken = broken
    node.trigger_configure()
    if node.state == "inactive":
        node.trigger_activate()
    if node.state == "active":
        node.trigger_deactivate()
        node.trigger_cleanup()
    assert node.steps == steps
    assert node.state == state
    assert f"{broken} failed" in node._health().message
    node.broken = ""


def test_health_that_raises_is_an_error_on_diagnostics_not_silence(harness):
    heard = harness.subscribe(DiagnosticArray, "/diagnostics")
    harness.start()
    harness.add(Quiet)
    array = heard.wait(lambda m: "health is not known" in m.status[0].message)
    assert array.status[0].level == b"\x02"
