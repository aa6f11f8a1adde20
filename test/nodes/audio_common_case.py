"""The audio node on either audio_common_msgs; run by test_interfaces with each of the two.

A tone is told in the package's own messages until the node publishes windows of it.
"""

from __future__ import annotations

import itertools
import random

import audio_common_msgs.msg as audio
import numpy as np
import pytest
import sensors
from any_value import spoiled
from harness import wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data

from edge_perception import msg
from edge_perception.nodes.encoder.node import EncoderNode

RATE_HZ, CHUNK = 16_000, 1_600
START_NS = 1_000 * 10**9
ROS_DRIVERS = hasattr(audio, "AudioDataStamped")


def tone(index):
    time_s = (index * CHUNK + np.arange(CHUNK)) / RATE_HZ
    return np.round(8000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2")


def stamped(message, index):
    message.header.stamp = sensors.time_msg(START_NS + index * CHUNK * 10**9 // RATE_HZ)
    message.header.frame_id = "microphone"
    return message


@pytest.fixture
def features(harness):
    node = harness.add(EncoderNode, "audio")
    assert node.is_active
    return harness.subscribe(msg.Feature, "features/audio")


def play(harness, features, publisher, make, accept):
    harness.start()
    wait_until(
        lambda: (
            publisher.get_subscription_count() and harness.driver.count_publishers("features/audio")
        ),
        "discovery",
    )
    index = itertools.count()

    def come():
        publisher.publish(make(next(index)))
        return any(accept(feature) for feature in features.messages)

    wait_until(come, "such a feature")
    return next(feature for feature in features.messages if accept(feature))


def windows(feature):
    return feature.valid and feature.tensors


def spoil(harness, features, messages):
    """Publish messages of the package's topics with every field wrong; then good ones are heard."""
    node = harness.nodes[0]
    publishers = {}
    for topic, make in messages.items():
        kind = type(make(0))
        publishers[topic] = harness.driver.create_publisher(kind, topic, 50)
    harness.start()
    arrivals = node._inlet.arrivals
    wait_until(lambda: {f"/{topic}" for topic in messages} <= set(arrivals()), "it listens")
    index = itertools.count()
    for topic, make in messages.items():
        message = make(0)

        def fresh(message=message, make=make):
            other = make(next(index))
            for name in other.get_fields_and_field_types():
                setattr(message, name, getattr(other, name))

        for what, data in spoiled(message, random.Random(21), fresh=fresh, mixed=30):
            before = arrivals()[f"/{topic}"].received
            publishers[topic].publish(data)
            wait_until(
                lambda topic=topic, n=before: arrivals()[f"/{topic}"].received > n,
                what,
                period_s=0.0005,
            )
    assert harness.callback_errors == []
    since = len(features.messages)

    def heard():
        number = next(index)
        for topic, make in messages.items():
            publishers[topic].publish(make(number))
        return any(map(windows, features.messages[since:]))

    wait_until(heard, "good sound is heard again")


if ROS_DRIVERS:

    def data(index):
        samples = sensors.filled(tone(index))
        return stamped(audio.AudioDataStamped(audio=audio.AudioData(data=samples)), index)

    def info(**changes):
        fields = {"channels": 1, "sample_rate": RATE_HZ, "sample_format": "S16LE"}
        return audio.AudioInfo(**{**fields, "coding_format": "wave", **changes})

    def test_chunks_of_audio_capture_are_heard_with_the_format_of_its_info(harness, features):
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        told = harness.driver.create_publisher(audio.AudioInfo, "audio_info", latched)
        told.publish(info())  # as audio_capture does: once, before anybody listens
        publisher = harness.driver.create_publisher(audio.AudioDataStamped, "audio_stamped", 50)
        feature = play(harness, features, publisher, data, windows)
        assert feature.header.frame_id == "microphone"

    def test_chunks_without_an_info_are_refused_with_what_is_missing(harness, features):
        publisher = harness.driver.create_publisher(audio.AudioDataStamped, "audio_stamped", 50)
        feature = play(harness, features, publisher, data, lambda f: not f.valid)
        assert "expects an AudioInfo message before it" in feature.invalid_reason

    def test_a_coded_stream_is_refused_by_name(harness, features):
        told = harness.driver.create_publisher(audio.AudioInfo, "audio_info", 1)
        publisher = harness.driver.create_publisher(audio.AudioDataStamped, "audio_stamped", 50)

        def make(index):
            told.publish(info(coding_format="mp3"))
            return data(index)

        feature = play(harness, features, publisher, make, lambda f: "mp3" in f.invalid_reason)
        assert "expects wave" in feature.invalid_reason

    def test_no_value_of_any_field_ends_anything(harness, features):
        spoil(harness, features, {"audio_info": lambda _: info(), "audio_stamped": data})

else:
    FORMATS = {  # PortAudio: flag, list, numbers of a sample at full scale
        "float32": (0x01, "float32_data", lambda x: (x / 32768).astype(np.float32)),
        "int32": (0x02, "int32_data", lambda x: x.astype(np.int32) * 65536),
        "int16": (0x08, "int16_data", lambda x: x),
        "int8": (0x10, "int8_data", lambda x: (x // 256).astype(np.int8)),
        "uint8": (0x20, "uint8_data", lambda x: (x // 256 + 128).astype(np.uint8)),
    }

    def stream(name):
        flag, field, convert = FORMATS[name]

        def make(index):
            message = audio.AudioStamped()
            setattr(message.audio.audio_data, field, convert(tone(index)).tolist())
            about = message.audio.info
            about.format, about.channels, about.rate, about.chunk = flag, 1, RATE_HZ, CHUNK
            return stamped(message, index)

        return make

    @pytest.mark.parametrize("name", list(FORMATS))
    def test_each_format_of_audio_capturer_node_is_heard(harness, features, name):
        publisher = harness.driver.create_publisher(
            audio.AudioStamped, "audio_common", qos_profile_sensor_data
        )
        feature = play(harness, features, publisher, stream(name), windows)
        assert feature.header.frame_id == "microphone"

    def test_a_format_that_portaudio_does_not_have_is_refused_by_name(harness, features):
        publisher = harness.driver.create_publisher(
            audio.AudioStamped, "audio_common", qos_profile_sensor_data
        )

        def make(index):
            message = stream("int16")(index)
            message.audio.info.format = 0x99
            return message

        feature = play(harness, features, publisher, make, lambda f: not f.valid)
        assert "PortAudio format" in feature.invalid_reason

    def test_no_value_of_any_field_ends_anything(harness, features):
        spoil(harness, features, {"audio_common": stream("int16")})
