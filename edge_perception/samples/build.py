"""Makes a demo recording of a scene: every message at the time it would really arrive."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge_perception.core.parameter import parameter
from edge_perception.fusion.odometry_watch import MAX_SPEED_MPS, Pose
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.qos import RELIABLE, SENSOR_DATA
from edge_perception.recordings.stamps import with_stamp_ns
from edge_perception.recordings.writer import RecordingWriter, Topic
from edge_perception.samples.messages import (
    camera_info_bytes,
    chunk_bytes,
    cloud_bytes,
    image_bytes,
    odometry_bytes,
)
from edge_perception.samples.scene import (
    Scene,
    SceneSweep,
    ahead_offset_s,
    has_odometry,
    shown_frames,
)
from edge_perception.samples.truth import (
    ATTACHMENT,
    GroundTruth,
    LabelledFrame,
    Shown,
    SoundClip,
    pose_of,
)

IMAGE, INFO = "/camera/image_raw/compressed", "/camera/camera_info"
POINTS, AUDIO = "/lidar/points", "/audio"
TOPICS = (
    Topic(name=IMAGE, type="sensor_msgs/msg/CompressedImage", qos=SENSOR_DATA),
    Topic(name=INFO, type="sensor_msgs/msg/CameraInfo", qos=SENSOR_DATA),
    Topic(name=POINTS, type="sensor_msgs/msg/PointCloud2", qos=SENSOR_DATA),
    Topic(name=AUDIO, type="edge_perception/msg/AudioChunk", qos=RELIABLE),
)
ODOMETRY = Topic(name="/odometry", type="nav_msgs/msg/Odometry", qos=SENSOR_DATA)
BASE_FRAME = "base_link"
_NS = 1_000_000_000
# A sequence starts so far from the one before it that nobody takes the cut for driving.
_APART_M = 100.0 * MAX_SPEED_MPS
_Message = tuple[int, int, str, bytes]  # arrival, rank of the topic, topic, CDR


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A time in which topics carry nothing, s since the start of the recording."""

    topics: tuple[str, ...]
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Rates, delays and gaps of the recording."""

    duration_s: float = parameter(20.0, unit="s", low=1.0, high=3600.0)
    period_s: float = 0.1  # of sweeps and images
    chunk_s: float = 0.1
    delay_s: float = 0.005  # end of exposure, sweep or chunk to arrival
    gaps: tuple[Gap, ...] = ()


def build_recording(
    scene: Scene,
    path: Path,
    options: BuildOptions,
    *,
    attachments: Mapping[str, bytes] | None = None,
) -> GroundTruth:
    """Write a recording and, beside it, its calibration as a parameter file.

    Args:
        scene: what the sensors deliver.
        path: file to write.
        options: rates, delays, gaps.
        attachments: more JSON files to put inside, by name.

    Returns:
        What the recording carries about itself.
    """
    truth = ground_truth(scene, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    with RecordingWriter(path) as writer:
        for topic in _topics(scene):
            writer.add_topic(topic)
        streams = (_images(scene, truth, options), _sweeps(scene, truth, options),
                   _chunks(scene, truth, options), _odometry(scene, truth, options))  # fmt: skip
        for arrival_ns, _, topic_name, data in heapq.merge(*streams):
            if _in_gap(topic_name, (arrival_ns - scene.start_ns) / _NS, options.gaps):
                continue
            writer.write(topic_name, data, log_time_ns=arrival_ns)
        writer.add_attachment(
            ATTACHMENT, truth.to_json(), media_type="application/json", time_ns=scene.start_ns
        )
        for name, content in (attachments or {}).items():
            writer.add_attachment(
                name, content, media_type="application/json", time_ns=scene.start_ns
            )
    text = calibration_parameters(truth, odometry=has_odometry(scene))
    parameters_path(path).write_text(text, encoding="utf-8")
    return truth


def _topics(scene: Scene) -> Iterator[Topic]:
    yield from TOPICS
    if has_odometry(scene):
        yield ODOMETRY
    for camera in scene.more_cameras:
        yield from (
            replace(topic, name=topic_of(topic.name, camera.source)) for topic in TOPICS[:2]
        )
    for lidar in scene.more_lidars:
        yield replace(TOPICS[2], name=topic_of(POINTS, lidar.source))


def topic_of(name: str, source: str) -> str:
    """Return the topic of another sensor: /camera/camera_info of camera_left."""
    return f"/{source}/{name.split('/', 2)[2]}"


def _in_gap(topic: str, at_s: float, gaps: Iterable[Gap]) -> bool:
    return any(topic in gap.topics and gap.start_s <= at_s < gap.end_s for gap in gaps)


def calibration_parameters(truth: GroundTruth, *, odometry: bool = False) -> str:
    """Return the text of a parameter file with the pose and the timing of the sensors."""
    poses = {
        "camera": truth.T_base_camera,
        "lidar": truth.T_base_lidar,
        "audio": truth.T_base_audio,
        **{camera.source: camera.T_base_camera for camera in truth.more_cameras},
        **{lidar.source: lidar.T_base_lidar for lidar in truth.more_lidars},
    }
    document: dict[str, Any] = {
        f"/**/{source}_encoder": {"ros__parameters": {"T_base_sensor": list(pose)}}
        for source, pose in poses.items()
    }
    if truth.microphones_m:
        positions = [value for position in truth.microphones_m for value in position]
        document["/**/audio_encoder"]["ros__parameters"]["microphone_positions"] = positions
    fusion: dict[str, Any] = {
        f"{lidar}.time_offset_s": truth.lidar_ahead_s
        for lidar in ("lidar", *(item.source for item in truth.more_lidars))
    }
    if truth.more_cameras or truth.more_lidars:
        fusion["sources"] = [*poses]
    if odometry:
        fusion["odometry_topic"] = ODOMETRY.name.lstrip("/")
    document["/**/fusion"] = {"ros__parameters": fusion}
    head = (
        "# Poses of the sensors in the base frame: x, y, z (m), qx, qy, qz, qw.\n"
        "# microphone_positions: x, y, z of each channel in the sensor frame, m.\n"
        "# time_offset_s: when a sweep passes straight ahead, where the camera looks.\n"
    )
    return head + str(yaml.safe_dump(document, sort_keys=False, default_flow_style=None))


def ground_truth(scene: Scene, options: BuildOptions) -> GroundTruth:
    """Return which frame each message of the recording shows, and all labels."""
    lengths = tuple(len(sequence) for sequence in scene.sequences)
    firsts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    frames = [frame for sequence in scene.sequences for frame in sequence]
    sweeps, images = [], []
    count = round(options.duration_s / options.period_s)
    for step, (sequence, index) in enumerate(shown_frames(lengths, count)):
        frame = firsts[sequence] + index
        stamp_ns = scene.start_ns + round(step * options.period_s * _NS)
        sweeps.append(Shown(stamp_ns=stamp_ns, frame=frame))
        image_ns = stamp_ns + round(frames[frame].camera_offset_s * _NS)
        images.append(Shown(stamp_ns=image_ns, frame=frame))
    return GroundTruth(
        origin=scene.origin,
        base_frame=BASE_FRAME,
        T_base_camera=pose_of(scene.T_base_camera),
        T_base_lidar=pose_of(scene.T_base_lidar),
        T_base_audio=pose_of(scene.T_base_audio),
        lidar_ahead_s=round(ahead_offset_s(frames), 4),
        intrinsics=tuple(tuple(row) for row in scene.intrinsics.tolist()),
        image_size=scene.image_size,
        frames=tuple(LabelledFrame(name=frame.name, boxes=frame.boxes) for frame in frames),
        sweeps=tuple(sweeps),
        images=tuple(images),
        clip=SoundClip(
            name=scene.clip_name,
            start_ns=scene.start_ns - round(options.period_s * _NS),
            length_s=len(scene.clip) / scene.sample_rate_hz,
            sounds=scene.sounds,
        ),
        microphones_m=scene.microphones_m,
        more_cameras=scene.more_cameras,
        more_lidars=scene.more_lidars,
    )


def _images(scene: Scene, truth: GroundTruth, options: BuildOptions) -> Iterator[_Message]:
    frames = [frame for sequence in scene.sequences for frame in sequence]
    cameras = {
        "camera": (
            camera_info_bytes(scene.intrinsics, scene.image_size),
            [image_bytes(frame.jpeg) for frame in frames],
        )
    }
    for camera in scene.more_cameras:
        name = camera.source
        cameras[name] = (
            camera_info_bytes(np.array(camera.intrinsics), camera.image_size, name),
            [image_bytes(frame.more_jpegs[name], name) for frame in frames],
        )
    for shown in truth.images:
        arrival_ns = shown.stamp_ns + round(options.delay_s * _NS)
        for name, (info, _) in cameras.items():
            yield arrival_ns, 0, topic_of(INFO, name), with_stamp_ns(info, shown.stamp_ns)
        for name, (_, images) in cameras.items():
            image = with_stamp_ns(images[shown.frame], shown.stamp_ns)
            yield arrival_ns, 1, topic_of(IMAGE, name), image


def _sweeps(scene: Scene, truth: GroundTruth, options: BuildOptions) -> Iterator[_Message]:
    frames = [frame for sequence in scene.sequences for frame in sequence]
    sweeps: dict[str, list[SceneSweep]] = {"lidar": [*frames]}
    for lidar in scene.more_lidars:
        sweeps[lidar.source] = [frame.more_sweeps[lidar.source] for frame in frames]
    clouds = {
        source: [cloud_bytes(item, source) for item in items] for source, items in sweeps.items()
    }
    for shown in truth.sweeps:
        # All spin together: the last one's last point, so that arrivals stay in order.
        ends_s = (items[shown.frame].time_offset_s.max(initial=0.0) for items in sweeps.values())
        last_point_s = max(0.0, *map(float, ends_s))
        arrival_ns = shown.stamp_ns + round((last_point_s + options.delay_s) * _NS)
        for source, found in clouds.items():
            topic = topic_of(POINTS, source)
            yield arrival_ns, 2, topic, with_stamp_ns(found[shown.frame], shown.stamp_ns)


def _odometry(scene: Scene, truth: GroundTruth, options: BuildOptions) -> Iterator[_Message]:
    poses = scene.poses
    if not poses and has_odometry(scene):
        for pose in _shown_poses(scene, truth):
            data = with_stamp_ns(odometry_bytes(pose, base_frame=BASE_FRAME), pose.stamp_ns)
            # Before what was seen from there: frames go forth and back, so that the poses to come
            # do not follow from those before.
            yield pose.stamp_ns, 4, ODOMETRY.name, data
    for pose in poses:
        data = odometry_bytes(pose, base_frame=BASE_FRAME)
        arrival_ns = pose.stamp_ns + round(options.delay_s * _NS)
        yield arrival_ns, 4, ODOMETRY.name, with_stamp_ns(data, pose.stamp_ns)


def _shown_poses(scene: Scene, truth: GroundTruth) -> Iterator[Pose]:
    """Yield from where each image and sweep was taken: back where frames are shown backwards."""
    frames = [
        (frame, index * _APART_M)
        for index, sequence in enumerate(scene.sequences)
        for frame in sequence
    ]
    for image, sweep in zip(truth.images, truth.sweeps, strict=True):
        frame, from_m = frames[sweep.frame]
        seen = [(image.stamp_ns, frame.T_world_base_image), (sweep.stamp_ns, frame.T_world_base)]
        for stamp_ns, T in sorted(seen, key=lambda item: item[0]):
            assert T is not None  # `has_odometry`
            x, y, z, qx, qy, qz, qw = pose_of(T)
            yield Pose(
                stamp_ns=stamp_ns, position_m=(x + from_m, y, z), orientation=(qx, qy, qz, qw)
            )


def _chunks(scene: Scene, truth: GroundTruth, options: BuildOptions) -> Iterator[_Message]:
    samples = round(options.chunk_s * scene.sample_rate_hz)
    for index in range(round(options.duration_s / options.chunk_s)):
        first = index * samples
        picked = np.take(scene.clip, range(first, first + samples), axis=0, mode="wrap")
        stamp_ns = truth.clip.start_ns + first * _NS // scene.sample_rate_hz
        data = chunk_bytes(picked, sample_rate_hz=scene.sample_rate_hz, first_index=first)
        arrival_ns = stamp_ns + round((options.chunk_s + options.delay_s) * _NS)
        yield arrival_ns, 3, AUDIO, with_stamp_ns(data, stamp_ns)
