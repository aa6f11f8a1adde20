"""No request and no parameter ends a node, and every request is answered."""

from __future__ import annotations

import random
import threading
import time

import pytest
import sensors
from harness import wait_until
from hostile_requests import TEXTS, hostile, services_of
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from sensor_msgs.msg import PointCloud2

from edge_perception.msg import Feature
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.nodes.fusion.node import FusionNode
from edge_perception.nodes.manager.node import ModelManagerNode

NODES = {
    "camera_encoder": (EncoderNode, ("camera",)),
    "lidar_encoder": (EncoderNode, ("lidar",)),
    "audio_encoder": (EncoderNode, ("audio",)),
    "fusion": (FusionNode, ()),
    "model_manager": (ModelManagerNode, ()),
}
ROUNDS = 6
CYCLE = ("deactivate", "cleanup", "configure", "activate")
VALUES = (
    ParameterValue(type=ParameterType.PARAMETER_NOT_SET),
    ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True),
    ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=-(2**63)),
    ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=2**63 - 1),
    ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=float("nan")),
    ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=-1e308),
    ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="ä" * 1000),
    ParameterValue(type=ParameterType.PARAMETER_BYTE_ARRAY, byte_array_value=[b"\xff"]),
    ParameterValue(type=ParameterType.PARAMETER_BOOL_ARRAY),
    ParameterValue(type=ParameterType.PARAMETER_INTEGER_ARRAY, integer_array_value=[-1, 2**62]),
    ParameterValue(type=ParameterType.PARAMETER_DOUBLE_ARRAY, double_array_value=[float("inf")]),
    ParameterValue(type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=["", "x", "x"]),
    ParameterValue(type=77),
)


class Asked:
    """One node, asked over DDS."""

    def __init__(self, harness, name):
        make, args = NODES[name]
        self.harness, self.name = harness, name
        self.node = harness.add(make, *args)
        harness.start()
        wait_until(lambda: len(self.services()) > 10, "services")

    def services(self):
        return services_of(self.harness.driver, self.name)

    def call(self, type_, name, request):
        return self.harness.call(type_, f"/{self.name}/{name}", request)

    def state(self):
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def change(self, label="", number=0):
        asked = Transition(id=number, label=label)
        return self.call(ChangeState, "change_state", ChangeState.Request(transition=asked)).success

    def parameters(self):
        return self.call(ListParameters, "list_parameters", ListParameters.Request()).result.names

    def assert_nothing_raised(self):
        assert self.harness.callback_errors == []


@pytest.fixture
def ask(harness):
    return lambda name: Asked(harness, name)


@pytest.mark.parametrize("name", NODES)
def test_every_service_answers_whatever_it_is_asked_in_every_state(ask, name):
    asked, rng = ask(name), random.Random(name)
    transitions = ("", "deactivate", "cleanup", "shutdown")
    for label in transitions:
        if label:
            assert asked.change(label), label
        state = asked.state()
        assert state == {"": "active", "deactivate": "inactive", "cleanup": "unconfigured"}.get(
            label, "finalized"
        )
        for service, type_ in asked.services().items():
            if service.endswith("/change_state"):
                continue
            for request in (type_.Request(), *(hostile(type_.Request, rng) for _ in range(ROUNDS))):
                asked.harness.call(type_, service, request)
        assert asked.state() == state
    asked.assert_nothing_raised()


@pytest.mark.parametrize("name", NODES)
def test_a_transition_that_the_state_does_not_have_is_refused(ask, name):
    asked = ask(name)
    for label in (
        "configure",
        "activate",
        "cleanup",
        "create",
        "destroy",
        "transition_error",
        *TEXTS[1:],
    ):
        assert not asked.change(label), label
        assert asked.state() == "active"
    for number in (*range(256),):
        if number not in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN):
            assert not asked.change(number=number), number
    assert asked.state() == "active"
    told = asked.node._health().values["request"]
    assert "is not possible while active; possible: deactivate, shutdown" in told
    asked.assert_nothing_raised()


def test_a_node_that_was_shut_down_says_that_nothing_is_possible(ask):
    asked = ask("lidar_encoder")
    assert asked.change("shutdown")
    answer = asked.call(
        GetAvailableTransitions, "get_available_transitions", GetAvailableTransitions.Request()
    )
    assert not answer.available_transitions
    assert not asked.change("configure")
    assert "nothing, it was shut down" in asked.node._health().values["request"]
    assert asked.node._health().message == "not active: finalized"


@pytest.mark.parametrize("name", NODES)
def test_every_parameter_stands_every_value(ask, name):
    asked = ask(name)
    names = [*asked.parameters(), "no.such_parameter", ""]
    described = asked.call(
        DescribeParameters, "describe_parameters", DescribeParameters.Request(names=names[:-2])
    )
    assert [d.name.split(".")[-1] for d in described.descriptors] == [
        n.split(".")[-1] for n in names[:-2]
    ]
    before = asked.call(GetParameters, "get_parameters", GetParameters.Request(names=names[:-2]))
    assert len(before.values) == len(names) - 2, "a dump has all of them"
    for state in ("active", "unconfigured"):
        for value in VALUES:
            every = [ParameterMsg(name=each, value=value) for each in names]
            answer = asked.call(
                SetParameters, "set_parameters", SetParameters.Request(parameters=every)
            )
            assert len(answer.results) == len(every)
            assert all(r.successful or r.reason for r in answer.results)
            assert not answer.results[-1].successful
            assert not answer.results[-2].successful
            together = asked.call(
                SetParametersAtomically,
                "set_parameters_atomically",
                SetParametersAtomically.Request(parameters=every),
            )
            assert not together.result.successful
        assert asked.state() == state
        if state == "active":
            assert asked.change("deactivate")
            assert asked.change("cleanup")
    after = asked.call(GetParameters, "get_parameters", GetParameters.Request(names=names[:-2]))
    assert [v.type for v in after.values] == [v.type for v in before.values]


class Clouds:
    """A LiDAR that runs all the time."""

    def __init__(self, driver):
        self._publisher = driver.create_publisher(PointCloud2, "lidar/points", 5)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()

    def _run(self):
        while not self._ending.wait(0.02):
            self._publisher.publish(sensors.cloud(time.time_ns(), points=500))


def features_come(harness, features):
    features.wait(lambda feature: not feature.invalid_reason, since=len(features.messages))


def test_twenty_cycles_with_inputs_running(harness, ask):
    asked = ask("lidar_encoder")
    features = harness.subscribe(Feature, "features/lidar")
    with Clouds(harness.driver):
        for _ in range(20):
            for label in CYCLE:
                assert asked.change(label), label
        features_come(harness, features)
    assert asked.state() == "active"
    asked.assert_nothing_raised()


def test_transitions_in_quick_succession_under_load(harness, ask):
    asked, rng = ask("lidar_encoder"), random.Random(0)
    features = harness.subscribe(Feature, "features/lidar")
    client = harness.driver.create_client(ChangeState, "/lidar_encoder/change_state")
    assert client.wait_for_service(60.0)
    results = set()
    with Clouds(harness.driver):
        for _ in range(20):
            labels = rng.choices((*CYCLE, "nonsense"), k=8)  # a service keeps ten requests
            requests = [ChangeState.Request(transition=Transition(label=each)) for each in labels]
            answers = [client.call_async(request) for request in requests]
            for answer in answers:
                wait_until(answer.done, "an answer to each")
            results |= {answer.result().success for answer in answers}
        assert results == {True, False}
        state = asked.state()
        assert state in ("unconfigured", "inactive", "active")
        for label in {"unconfigured": ("configure", "activate"), "inactive": ("activate",)}.get(
            state, ()
        ):
            assert asked.change(label)
        features_come(harness, features)
    asked.assert_nothing_raised()
    assert asked.state() == "active"
