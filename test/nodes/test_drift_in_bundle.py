"""A reference from a recording into a user's bundle, signed, and judged by in a real node."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable

import numpy as np
import pytest
import sensors
from diagnostic_msgs.msg import DiagnosticArray
from harness import Harness, wait_until
from rclpy.serialization import serialize_message

from edge_perception import msg
from edge_perception.cli.main import main
from edge_perception.core.share import share_file
from edge_perception.nodes.conversion import stamp_ns as stamp_ns_of
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.recordings.writer import RecordingWriter, Topic

MICROPHONE = Topic(name="/audio", type="edge_perception/msg/AudioChunk")
CHUNKS = 900  # 90 s: nine looks of the detector
STEP_NS = 10**8
WAITING = {"queue_frames": 20}  # chunks come faster than time passes, and none is overwritten


def hum(stamp_ns: int, index: int) -> msg.AudioChunk:
    """A tone, as of a microphone with a ground loop."""
    return sensors.chunk(stamp_ns, index * sensors.CHUNK)


def street(stamp_ns: int, index: int) -> msg.AudioChunk:
    """Noise whose loudness goes up and down."""
    rng = np.random.default_rng(index)
    samples = rng.normal(0.0, 300.0 * (1.0 + 0.5 * np.sin(index / 7.0)), sensors.CHUNK)
    message = hum(stamp_ns, index)
    message.data = sensors.filled(np.rint(samples).astype("<i2"))
    return message


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A folder of bundles: `plain`, and `referenced`, which carries a reference and is signed."""
    folder = tmp_path_factory.mktemp("release")
    drive = folder / "good.mcap"
    with RecordingWriter(drive) as writer:
        writer.add_topic(MICROPHONE)
        for index in range(CHUNKS):
            stamp_ns = 10**12 + index * STEP_NS
            data = bytes(serialize_message(street(stamp_ns, index)))
            writer.write(MICROPHONE.name, data, log_time_ns=stamp_ns + STEP_NS)
    bundle, made = share_file("models/bev_lite/audio"), folder / "models" / "referenced"
    made.parent.mkdir()
    key, trust = folder / "release.key", folder / "trust.json"
    params = folder / "vehicle.yaml"
    params.write_text("fusion: {ros__parameters: {sources: [audio]}}\n")
    for command in (
        ["drift", "reference", drive, "--out", folder / "references", "--params-file", params],
        ["drift", "attach", bundle, folder / "references" / "audio.drift.json", "--out", made],
        ["models", "keygen", key, "--trust", trust],
        ["models", "sign", made, "--key", key],
        ["models", "verify", made.name, "--folder", made.parent, "--trust", trust],
    ):
        assert main([str(word) for word in command]) == 0, command
    return made.parent, trust


class Microphone:
    """Publishes faster than time passes, with the stamps of a microphone."""

    def __init__(self, harness: Harness) -> None:
        self._publisher = harness.driver.create_publisher(msg.AudioChunk, "audio", 50)
        self._features = harness.subscribe(msg.Feature, "features/audio", 50)
        self._start_ns = time.time_ns() - 3 * CHUNKS * STEP_NS
        self._index = 0
        wait_until(self._publisher.get_subscription_count, "discovery")

    def play(self, sound: Callable[[int, int], msg.AudioChunk]) -> None:
        for _ in range(CHUNKS):
            stamp_ns = self._start_ns + self._index * STEP_NS
            self._publisher.publish(sound(stamp_ns, self._index))
            self._index += 1
            if self._index % 10 == 0:  # no more at once than may wait in the node
                due_ns = stamp_ns - 20 * STEP_NS
                wait_until(lambda due_ns=due_ns: self._heard_ns() > due_ns, "features")

    def _heard_ns(self) -> int:
        heard = self._features.messages
        return stamp_ns_of(heard[-1].header.stamp) if heard else 0


def metrics_of(node) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{node.address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found = re.findall(r'^edge_perception_(drift\w+){source="audio".*} (\S+)$', text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def said_of_drift(received) -> str:
    statuses = [s for m in received.messages for s in m.status if s.name == "audio_encoder"]
    return next((v.value for v in statuses[-1].values if v.key == "drift"), "") if statuses else ""


@pytest.mark.timeout(240)
def test_a_bundle_with_its_reference_is_judged_by_it(harness: Harness, release):
    pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe'")
    from edge_perception.observe.metrics.node import MetricsNode

    models, trust = release
    node = harness.add(
        EncoderNode,
        "audio",
        parameters={
            "model": "referenced",
            "model_folders": [str(models)],
            "trust_file": str(trust),
            **WAITING,
        },
    )
    assert node.is_active
    metrics = harness.add(MetricsNode, parameters={"port": 0})
    diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics", 50)
    harness.start()
    microphone = Microphone(harness)
    microphone.play(street)
    wait_until(lambda: said_of_drift(diagnostics) == "none", "known, and none")
    wait_until(
        lambda: metrics_of(metrics).items() >= {"drift_known": 1, "drifted_quantities": 0}.items(),
        "metrics know it too",
    )
    microphone.play(hum)
    wait_until(lambda: "feature." in said_of_drift(diagnostics), "drift of what is heard")
    wait_until(lambda: metrics_of(metrics).get("drifted_quantities", 0) >= 1, "in the metrics too")
    assert re.search(r"audio: drift of \S+: median .* -> median .* since", node.health().message)
    assert not harness.callback_errors


@pytest.mark.timeout(120)
def test_without_a_reference_drift_is_not_known_and_no_metric_says_zero(harness: Harness):
    pytest.importorskip("prometheus_client", reason="prometheus-client, extra 'observe'")
    from edge_perception.observe.metrics.node import MetricsNode

    harness.add(EncoderNode, "audio", parameters=WAITING)
    metrics = harness.add(MetricsNode, parameters={"port": 0})
    diagnostics = harness.subscribe(DiagnosticArray, "/diagnostics", 50)
    harness.start()
    Microphone(harness).play(street)
    wait_until(lambda: said_of_drift(diagnostics) == "not known: no reference", "not known")
    wait_until(lambda: "drift_known" in metrics_of(metrics), "a metric of it")
    assert metrics_of(metrics) == {"drift_known": 0.0}
