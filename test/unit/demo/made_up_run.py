"""A made-up run: a recording of two frames a sequence, and the fused messages it would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_perception.core.types import (
    ClosedBy,
    DetectedObject,
    FrameLatency,
    FusedView,
    FusionLevel,
    Mode,
    PublishedView,
    SoundEvent,
    SourceState,
    SourceStatus,
)
from edge_perception.recordings.schedule import StampMap
from edge_perception.samples.build import BuildOptions, ground_truth
from edge_perception.samples.scene import Scene, SceneFrame
from edge_perception.samples.truth import LabelledBox, LabelledSound

START_NS = 1_700_000_000_000_000_000
PLAY_NS = 1_800_000_000_000_000_000
MS = 1_000_000
# Optical frame (z forward, x right, y down) to base (x forward, y left, z up).
OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], float)


def car(x_m, y_m, *, label="Car", class_name="car"):
    return LabelledBox(
        label=label,
        class_name=class_name,
        center_m=(x_m, y_m, 0.8),
        size_m=(4.5, 1.9, 1.6),
        yaw_rad=0.0,
        points=100,
    )


def found(x_m, y_m, *, score=0.9, class_name="car", sources=("camera", "lidar")):
    return DetectedObject(
        class_name=class_name,
        score=score,
        center_m=(x_m, y_m, 0.8),
        size_m=(4.5, 1.9, 1.6),
        yaw_rad=0.1,
        sources=sources,
    )


def scene_frame(name):
    rng = np.random.default_rng(0)
    xyz_m = rng.uniform(-40, 40, (500, 3)).astype(np.float32)
    azimuth = np.arctan2(xyz_m[:, 1], xyz_m[:, 0])
    return SceneFrame(
        name=name,
        jpeg=b"\xff\xd8 not a real picture \xff\xd9",
        camera_offset_s=-0.05,
        xyz_m=xyz_m,
        intensity=rng.integers(0, 255, 500).astype(np.uint8),
        time_offset_s=(-0.05 - azimuth / (2 * np.pi) * 0.1).astype(np.float32),
        boxes=(car(10.0, 0.0), car(20.0, 3.0), car(60.0, 0.0)),
    )


def scene():
    rate_hz = 16000
    return Scene(
        origin="made up",
        sequences=(
            (scene_frame("a/00"), scene_frame("a/01")),
            (scene_frame("b/00"), scene_frame("b/01")),
        ),
        start_ns=START_NS,
        intrinsics=np.array([[1000.0, 0, 960], [0, 1000, 540], [0, 0, 1]]),
        image_size=(1920, 1080),
        T_base_camera=OPTICAL,
        T_base_lidar=np.eye(4),
        clip_name="tone",
        clip=(np.sin(np.arange(rate_hz) * 0.3) * 20000).astype(np.int16)[:, None],
        sample_rate_hz=rate_hz,
        sounds=(LabelledSound(class_name="siren", start_s=0.3, end_s=0.7),),
    )


def truth(scene):
    return ground_truth(scene, BuildOptions(duration_s=4.0))


def stamps():
    return StampMap(
        recording_start_ns=START_NS, play_start_ns=PLAY_NS, period_ns=4000 * MS, rate=1.0
    )


LATENCY = FrameLatency(
    receive_s=0.005, queue_s=0.001, preprocess_s=0.004, inference_s=0.01, postprocess_s=0.002
)


def entries(truth, stamps):
    """Forty fused messages; the LiDAR is missing from 1 to 2 s."""
    result = []
    for index, (sweep, image) in enumerate(zip(truth.sweeps, truth.images, strict=True)):
        pulled = 10 <= index < 20
        stamp_of = {"camera": image.stamp_ns, "lidar": sweep.stamp_ns, "audio": sweep.stamp_ns}
        statuses = [
            SourceStatus(
                source=name,
                modality=name,
                state=SourceState.OK,
                contributed=True,
                stamp_ns=stamps.to_played(stamp_ns),
                received=index + 1,
                latency=LATENCY,
            )
            for name, stamp_ns in stamp_of.items()
        ]
        if pulled:
            statuses[1] = replace(
                statuses[1],
                state=SourceState.MISSING if index > 12 else SourceState.LATE,
                contributed=False,
                stamp_ns=stamps.to_played(truth.sweeps[9].stamp_ns),
            )
        result.append(
            PublishedView(
                at_ns=stamps.to_played(sweep.stamp_ns) + 40 * MS,
                view=FusedView(
                    stamp_ns=stamps.to_played(sweep.stamp_ns),
                    oldest_stamp_ns=0,
                    frame_id="base_link",
                    sequence=index,
                    mode=Mode.DEGRADED if pulled else Mode.FULL,
                    valid=True,
                    reason="",
                    level=FusionLevel.DECISION,
                    level_reason="",
                    closed_by=ClosedBy.COMPLETE,
                    sources=tuple(statuses),
                    objects=(found(10.3, 0.1), found(20.0, 6.0)),
                    sound_events=(siren(stamps.to_played(sweep.stamp_ns)),) if index == 5 else (),
                    models=(),
                    opened_steady_ns=0,
                    wait_s=0.03,
                    fusion_s=0.002,
                ),
                end_to_end_s=0.09 + 0.001 * index,
                deadline_missed=index == 7,
            )
        )
    return result


def siren(start_ns, *, name="siren"):
    return SoundEvent(
        class_name=name,
        score=0.8,
        window_start_ns=start_ns,
        window_end_ns=start_ns + 300 * MS,
    )
