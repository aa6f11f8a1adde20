"""A real recording through the real audio node with YAMNet imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sensors
from harness import wait_until

from edge_perception import msg
from edge_perception.encoders.audio.clip import read_wav
from edge_perception.nodes.encoder.node import EncoderNode
from edge_perception.releases.importing import import_model

DATA = Path(os.environ.get("EDGE_PERCEPTION_DATA", Path(__file__).parents[3] / "shared" / "data"))
START_NS = 1_000 * 10**9


def seconds(stamp):
    return stamp.sec + stamp.nanosec / 1e9 - START_NS / 1e9


@pytest.fixture
def node(harness, tmp_path):
    pytest.importorskip("onnx")
    model, clip = DATA / "models" / "yamnet_spectra_in.onnx", DATA / "audio"
    for needed in (model, clip):
        if not needed.exists():
            pytest.skip(f"missing: {needed}")
    import_model(model, adapter="yamnet", into=tmp_path)
    node = harness.add(
        EncoderNode,
        "audio",
        parameters={"model": "yamnet", "model_folders": [str(tmp_path)]},
    )
    assert node.is_active
    return node


def test_siren_and_horn_of_a_recording_are_published_in_their_windows(harness, node):
    features = harness.subscribe(msg.Feature, "features/audio")
    publisher = harness.driver.create_publisher(msg.AudioChunk, "audio", 50)
    harness.start()
    wait_until(
        lambda: (
            publisher.get_subscription_count() and harness.driver.count_publishers("features/audio")
        ),
        "discovery",
    )
    heard = {"siren": [], "car_horn": []}
    for block in read_wav(DATA / "audio" / "siren_horn_voice.wav", start_ns=START_NS):
        message = msg.AudioChunk(
            sample_rate=block.sample_rate_hz,
            channels=1,
            format=msg.AudioChunk.FORMAT_F32LE,
            first_sample_index=block.first_sample_index,
            data=sensors.filled(block.samples),
        )
        message.header.stamp = sensors.time_msg(block.stamp_ns)
        message.header.frame_id = "microphone"
        publisher.publish(message)
        if block.first_sample_index + len(block.samples) < 15_600:
            continue  # the first window is not full yet
        feature = features.wait(lambda f, m=message: f.header.stamp == m.header.stamp)
        assert feature.valid
        assert "embedding" in [tensor.name for tensor in feature.tensors]
        for event in feature.sound_events:
            center = (seconds(event.window_start) + seconds(event.window_end)) / 2
            heard.get(event.class_name, []).append(center)
    assert len(heard["siren"]) >= 35
    assert all(2.0 <= center <= 7.0 for center in heard["siren"])
    assert len(heard["car_horn"]) >= 5
    assert all(5.0 <= center <= 5.7 for center in heard["car_horn"])
