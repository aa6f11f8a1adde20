"""Dataclass to message and back, through real serialisation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from edge_perception import msg
from edge_perception.core.errors import InvalidFrameError
from edge_perception.core.types import (
    DetectedObject,
    Feature,
    FrameLatency,
    Geometry,
    ImageObject,
    LateEvidence,
    ModelVersion,
    SoundEvent,
    SourceState,
    SourceStatus,
)
from edge_perception.nodes.conversion import (
    FEATURE_TYPE,
    feature_bytes,
    feature_from_msg,
    feature_msg,
    late_evidence_from_msg,
    late_evidence_msg,
    source_status_from_msg,
    source_status_msg,
    stamp_ns,
    tensor_from_msg,
    tensor_msg,
    time_msg,
)
from edge_perception.nodes.conversion.parts import object_from_msg, object_msg
from edge_perception.nodes.topics.raw import reader

FEATURE = Feature(
    stamp_ns=1_700_000_000_123_456_789,
    frame_id="camera_optical",
    source="camera_rear",
    modality="camera",
    model=ModelVersion(
        role="camera_rear", name="m", version="1.2.3", sha256="ab" * 32, feature_space="s-1"
    ),
    sequence=7,
    dropped=3,
    refused=1,
    geometry=Geometry(
        T_base_sensor=np.diag([1.0, 2.0, 3.0, 1.0]),
        pose_source="tf",
        intrinsics=np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]),
        image_size=(640, 480),
    ),
    tensors={
        "bev": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
        "empty": np.zeros((0, 3), np.float32),
        "half": np.array([1.5], np.float16),
    },
    objects=(
        DetectedObject(
            class_name="car",
            score=0.5,
            center_m=(1.0, 2.0, 3.0),
            size_m=(4.0, 2.0, 1.5),
            yaw_rad=0.25,
            sources=("camera_rear",),
        ),
    ),
    image_objects=(ImageObject(class_name="car", score=0.5, x_min=1, y_min=2, x_max=3, y_max=4),),
    sound_events=(
        SoundEvent(class_name="siren", score=0.5, window_start_ns=1, window_end_ns=2_000_000_001),
    ),
    latency=FrameLatency(receive_s=0.5, queue_s=0.25, inference_s=0.125),
    inferred_stamp_ns=1_699_999_999_923_456_789,
    skipped=2**63 + 1,
    given_up="unchanged frames reused, 1 of 2 frames skipped",
)


@pytest.mark.parametrize(
    "read",
    [lambda data: deserialize_message(data, msg.Feature), reader(FEATURE_TYPE)],
    ids=("typed", "in place"),
)
@pytest.mark.parametrize(
    "write",
    [lambda feature: serialize_message(feature_msg(feature)), feature_bytes],
    ids=("typed", "direct"),
)
def test_a_feature_survives_the_wire(write, read):
    back = feature_from_msg(read(write(FEATURE)))
    for name in ("stamp_ns", "frame_id", "source", "modality", "model", "sequence", "dropped"):
        assert getattr(back, name) == getattr(FEATURE, name)
    assert back.refused == 1
    for name in ("inferred_stamp_ns", "skipped", "given_up", "evidence_ns"):
        assert getattr(back, name) == getattr(FEATURE, name)
    assert back.valid
    assert back.image_objects == FEATURE.image_objects
    assert back.objects[0].center_m == FEATURE.objects[0].center_m
    assert all(math.isnan(value) for value in back.objects[0].velocity_mps)
    assert back.sound_events[0].window_end_ns == 2_000_000_001
    assert back.latency.inference_s == 0.125
    assert math.isnan(back.latency.preprocess_s)
    np.testing.assert_array_equal(back.geometry.T_base_sensor, FEATURE.geometry.T_base_sensor)
    np.testing.assert_array_equal(back.geometry.intrinsics, FEATURE.geometry.intrinsics)
    assert back.geometry.image_size == (640, 480)
    assert back.geometry.pose_source == "tf"
    assert set(back.tensors) == {"bev", "empty", "half"}
    for name, tensor in FEATURE.tensors.items():
        np.testing.assert_array_equal(back.tensors[name], tensor)
        assert back.tensors[name].dtype == tensor.dtype


def test_big_endian_and_strided_arrays_are_sent_little_endian_and_contiguous():
    values = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    np.testing.assert_array_equal(tensor_from_msg(tensor_msg("x", values)), values)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dtype": "object"}, "expected a dtype of"),
        ({"shape": [5]}, "expects 20 bytes, got 16"),
        ({"shape": [2**31, 2**31, 2**31]}, "got 16"),
    ],
)
def test_a_tensor_that_lies_about_itself_is_refused(change, text):
    message = tensor_msg("x", np.zeros(4, np.float32))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InvalidFrameError, match=text):
        tensor_from_msg(message)


def test_geometry_of_the_wrong_shape_is_refused():
    message = feature_msg(FEATURE)
    message.tensors.append(tensor_msg("T_base_sensor", np.eye(3)))
    with pytest.raises(InvalidFrameError, match=r"T_base_sensor.*\(4, 4\)"):
        feature_from_msg(message)


def test_an_invalid_feature_without_a_reason_stays_invalid():
    message = feature_msg(FEATURE)
    message.valid, message.invalid_reason = False, ""
    assert not feature_from_msg(message).valid


@pytest.mark.parametrize("ahead_ns", [0, 1, 10**12, -FEATURE.stamp_ns - 1])
def test_a_feature_that_reuses_no_earlier_frame_is_refused(ahead_ns):
    message = feature_msg(FEATURE)
    message.inferred_stamp = time_msg(FEATURE.stamp_ns + ahead_ns)
    with pytest.raises(InvalidFrameError, match="inferred_stamp: expected 0 or one before"):
        feature_from_msg(message)
    message.inferred_stamp = time_msg(0)
    assert feature_from_msg(message).evidence_ns == FEATURE.stamp_ns


def test_late_evidence_survives_the_wire_and_is_as_old_as_the_frame_that_was_seen():
    late = LateEvidence(
        source="camera_rear",
        modality="camera",
        tier="site",
        stamp_ns=FEATURE.stamp_ns,
        asked_stamp_ns=FEATURE.stamp_ns + 2_000_000_000,
        round_trip_s=0.25,
        doubt_bits=0.75,
        answer_doubt_bits=0.5,
        model=FEATURE.model,
        hidden=3,
        objects=(
            replace(FEATURE.objects[0], velocity_mps=(0.0, 0.0, 0.0), age_s=0.5, emergency=0.25),
        ),
        image_objects=FEATURE.image_objects,
        sound_events=(replace(FEATURE.sound_events[0], bearing_rad=0.5, bearing_std_rad=0.25),),
    )
    message = late_evidence_msg(late, FEATURE.stamp_ns + 3_000_000_000)
    back = deserialize_message(serialize_message(message), msg.LateEvidence)
    assert back.age_s == 3.0
    assert late_evidence_from_msg(back) == late
    assert math.isnan(late_evidence_msg(late).age_s)


def test_what_load_control_does_survives_in_the_fused_message():
    status = SourceStatus(
        source="camera",
        modality="camera",
        state=SourceState.OK,
        inferred_stamp_ns=1_700_000_000_000_000_001,
        skipped=17,
        given_up="1 of 2 frames skipped",
    )
    back = source_status_from_msg(source_status_msg(status))
    for name in ("inferred_stamp_ns", "skipped", "given_up"):
        assert getattr(back, name) == getattr(status, name)


@pytest.mark.parametrize("stamp", [0, 1, 999_999_999, 1_000_000_000, 1_700_000_000_123_456_789])
def test_stamps_are_exact(stamp):
    assert stamp_ns(time_msg(stamp)) == stamp


def test_a_covariance_beyond_the_message_is_its_largest_number():
    upper = (1e300, 0.0, -1e300, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, math.nan)
    item = replace(FEATURE.objects[0], track_id=4, covariance=upper)
    with np.errstate(all="raise"):
        message = object_msg(item)
    back = object_from_msg(deserialize_message(serialize_message(message), msg.DetectedObject))
    largest = float(np.finfo(np.float32).max)
    assert back.covariance[:8] == (largest, 0.0, -largest, 0.0, 2.0, 0.0, 0.0, 3.0)
    assert math.isnan(back.covariance[9])
