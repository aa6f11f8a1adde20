"""A log of a data set becomes a recording with calibration, poses, odometry and labels."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from edge_perception.core.transforms import STATIC, TF_TYPE
from edge_perception.recordings.own_parameters import parameters_path
from edge_perception.recordings.qos import RELIABLE, SENSOR_DATA, TopicQos
from edge_perception.recordings.writer import RecordingWriter, Topic
from edge_perception.samples import serialised
from edge_perception.samples.checking import check_log
from edge_perception.samples.datasets import BASE_FRAME, CameraStream, LidarStream, Log
from edge_perception.samples.truth import (
    ATTACHMENT,
    GroundTruth,
    LabelledFrame,
    Shown,
    pose_of,
)

ODOMETRY = "/odometry"
_LATCHED = TopicQos(durability="transient_local", depth=1)
_DELAY_NS = 5_000_000  # end of exposure or sweep to arrival
_Row = tuple[int, int, str, Callable[[], bytes]]  # arrival, rank, topic, CDR


def write_log(log: Log, path: Path, *, progress: Callable[[int], None]) -> GroundTruth:
    """Write a recording and, beside it, the parameters that fit it.

    Args:
        log: what is recorded.
        path: file to write.
        progress: is told how many messages are written.

    Returns:
        The labels, as the recording carries them.

    Raises:
        ConfigurationError: as `check_log`.
    """
    check_log(log)
    truth = ground_truth(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    with RecordingWriter(path) as writer:
        for topic in _topics(log):
            writer.add_topic(topic)
        streams = [_static(log), _odometry(log)]
        streams += [_sweeps(stream) for stream in log.lidars]
        streams += [_images(stream) for stream in log.cameras]
        for count, (arrival_ns, _, name, make) in enumerate(
            heapq.merge(*streams, key=lambda row: row[:2]), 1
        ):
            writer.write(name, make(), log_time_ns=arrival_ns)
            progress(count)
        writer.add_attachment(
            ATTACHMENT, truth.to_json(), media_type="application/json", time_ns=_start_ns(log)
        )
    parameters_path(path).write_text(parameters(log), encoding="utf-8")
    return truth


def message_count(log: Log) -> int:
    """Return how many messages `write_log` writes."""
    images = sum(len(stream.stamps_ns) for stream in log.cameras)
    return 1 + len(log.poses) + 2 * images + sum(len(s.stamps_ns) for s in log.lidars)


def parameters(log: Log) -> str:
    """Return a parameter file: which sensors there are and when; their poses are in tf."""
    sources = [stream.source for stream in log.streams]
    fusion: dict[str, Any] = {"sources": sources}
    fusion |= {f"{stream.source}.time_offset_s": log.lidar_ahead_s for stream in log.lidars}
    if log.poses:
        fusion["odometry_topic"] = ODOMETRY.lstrip("/")
    document = {"/**/fusion": {"ros__parameters": fusion}}
    head = (
        f"# {log.name}: {log.origin}\n"
        "# Poses of the sensors: /tf_static of the recording.\n"
        "# time_offset_s: when a sweep passes straight ahead, where the camera looks.\n"
    )
    return head + str(yaml.safe_dump(document, sort_keys=False, default_flow_style=None))


def ground_truth(log: Log) -> GroundTruth:
    """Return what a recording of the log carries about itself."""
    camera, lidar = log.cameras[0], log.lidars[0]
    return GroundTruth(
        origin=f"{log.name}: {log.origin}",
        base_frame=BASE_FRAME,
        T_base_camera=pose_of(camera.T_base_sensor),
        T_base_lidar=pose_of(lidar.T_base_sensor),
        lidar_ahead_s=log.lidar_ahead_s,
        intrinsics=tuple(tuple(row) for row in camera.K.tolist()),
        image_size=camera.image_size,
        frames=tuple(LabelledFrame(name=item.name, boxes=item.boxes) for item in log.labels),
        sweeps=tuple(
            Shown(stamp_ns=item.lidar_stamp_ns, frame=index)
            for index, item in enumerate(log.labels)
        ),
        images=tuple(
            Shown(stamp_ns=item.image_stamp_ns, frame=index)
            for index, item in enumerate(log.labels)
            if item.image_stamp_ns
        ),
    )


def _start_ns(log: Log) -> int:
    stamps = [s for stream in log.streams for s in stream.stamps_ns]
    return min([*stamps, *(pose.stamp_ns for pose in log.poses)])


def _topics(log: Log) -> Iterator[Topic]:
    def topic(name: str, type_name: str, qos: TopicQos) -> Topic:
        definition = serialised.codec().definition(type_name)
        return Topic(name=name, type=type_name, qos=qos, definition=definition)

    yield topic(STATIC, TF_TYPE, _LATCHED)
    if log.poses:
        yield topic(ODOMETRY, serialised.ODOMETRY, RELIABLE)
    for lidar in log.lidars:
        yield topic(f"/{lidar.source}/points", serialised.CLOUD, SENSOR_DATA)
    for camera in log.cameras:
        yield topic(f"/{camera.source}/image_raw/compressed", serialised.IMAGE, SENSOR_DATA)
        yield topic(f"/{camera.source}/camera_info", serialised.INFO, SENSOR_DATA)


def _frame(camera: CameraStream) -> str:
    return f"{camera.source}_optical"


def _static(log: Log) -> Iterator[_Row]:
    poses = {_frame(camera): pose_of(camera.T_base_sensor) for camera in log.cameras}
    poses |= {lidar.source: pose_of(lidar.T_base_sensor) for lidar in log.lidars}
    at_ns = _start_ns(log)
    yield at_ns, 0, STATIC, lambda: serialised.transforms(poses, parent=BASE_FRAME, stamp_ns=at_ns)


def _odometry(log: Log) -> Iterator[_Row]:
    for pose in log.poses:
        yield (
            pose.stamp_ns + _DELAY_NS,
            1,
            ODOMETRY,
            functools.partial(serialised.odometry, pose, base_frame=BASE_FRAME),
        )


def _images(camera: CameraStream) -> Iterator[_Row]:
    frame_id = _frame(camera)
    each = camera.of_each or [(camera.K, camera.image_size)] * len(camera.files)
    for stamp_ns, file, (K, size) in zip(camera.stamps_ns, camera.files, each, strict=True):
        arrival_ns = stamp_ns + _DELAY_NS

        def info(
            stamp_ns: int = stamp_ns, K: NDArray[np.float64] = K, size: tuple[int, int] = size
        ) -> bytes:
            return serialised.camera_info(
                K,
                size,
                stamp_ns=stamp_ns,
                frame_id=frame_id,
                distortion=camera.distortion,
            )

        def image(stamp_ns: int = stamp_ns, file: Path = file) -> bytes:
            kind = "png" if file.suffix == ".png" else "jpeg"
            return serialised.compressed_image(
                file.read_bytes(), stamp_ns=stamp_ns, frame_id=frame_id, format_=kind
            )

        yield arrival_ns, 2, f"/{camera.source}/camera_info", info
        yield arrival_ns, 3, f"/{camera.source}/image_raw/compressed", image


def _sweeps(lidar: LidarStream) -> Iterator[_Row]:
    """Yield sweeps at their arrival; one is read twice where its points have a time."""
    for index, stamp_ns in enumerate(lidar.stamps_ns):
        last_s = lidar.duration_s
        if index == 0:
            offset = lidar.load(0).time_offset_s
            first_s = None if offset is None else max(0.0, float(offset.max(initial=0.0)))
        if first_s is not None:
            last_s = first_s
        arrival_ns = stamp_ns + round(last_s * 1e9) + _DELAY_NS
        yield (
            arrival_ns,
            4,
            f"/{lidar.source}/points",
            functools.partial(_cloud, lidar, index, stamp_ns),
        )


def _cloud(lidar: LidarStream, index: int, stamp_ns: int) -> bytes:
    sweep = lidar.load(index)
    columns: dict[str, Any] = {axis: sweep.xyz_m[:, i] for i, axis in enumerate("xyz")}
    columns["intensity"] = sweep.intensity.astype(np.float32)
    if sweep.time_offset_s is not None:
        columns["time"] = sweep.time_offset_s
    if sweep.ring is not None:
        columns["ring"] = sweep.ring
    return serialised.point_cloud(columns, stamp_ns=stamp_ns, frame_id=lidar.source)
