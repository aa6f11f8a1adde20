"""Moments of a run with several cameras, for the picture that shows what is still covered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.picture_style import spoken
from edge_perception.core.types import FusionLevel, Mode, PublishedView
from edge_perception.demo.alone import SETTLE_S
from edge_perception.demo.session import RIG_PICTURE, Outcome
from edge_perception.demo.summary import Run, cut_reports
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.stamps import read_stamp_ns
from edge_perception.samples.build import POINTS
from edge_perception.samples.truth import GroundTruth, MountedCamera, matrix_of

_NEAR_NS = 100_000_000  # data further away shows another moment


def draw_rig(outcome: Outcome, out: Path) -> list[str]:
    """Draw the run before the first cut and in the middle of each; return the file written."""
    from edge_perception.demo.pictures.rig import Panel, rig_picture

    run, recording = outcome.run, Recording(outcome.recording)
    panels = []
    for title, entry in _moments(run):
        frame = _frame_of(run, entry)
        if frame is None:
            continue
        there = {s.source for s in entry.view.sources if s.contributed}
        panels.append(
            Panel(
                title=title,
                points_m=_points(run, recording, entry, there),
                objects=entry.view.objects,
                boxes=run.truth.frames[frame].boxes,
                cameras=[(camera, camera.source in there) for camera in cameras_of(run.truth)],
                level=_level(entry),
            )
        )
    if not panels:
        return []
    rig_picture(
        out / RIG_PICTURE,
        panels=panels,
        title="What a camera saw the others and the LiDAR still cover",
    )
    return [RIG_PICTURE]


def cameras_of(truth: GroundTruth) -> tuple[MountedCamera, ...]:
    """Return all cameras of a recording, the first one too."""
    first = MountedCamera(
        source="camera", T_base_camera=truth.T_base_camera, intrinsics=truth.intrinsics,
        image_size=truth.image_size,
    )  # fmt: skip
    return (first, *truth.more_cameras)


def _moments(run: Run) -> Iterator[tuple[str, PublishedView]]:
    """Yield what is shown, and a message of that time: of many the one made of most sources."""
    cuts = cut_reports(run)
    before = _fullest(run, SETTLE_S, cuts[0].from_s) if cuts else None
    if before is not None:
        whole = before.view.mode is Mode.FULL
        yield "all sensors" if whole else "before a sensor is pulled", before
    for cut in cuts:
        settled_s = 0.5 * (cut.from_s + cut.to_s)
        during = _fullest(run, settled_s, cut.to_s)
        if during is not None:
            yield f"{spoken(cut.source)} pulled", during


def _fullest(run: Run, from_s: float, to_s: float) -> PublishedView | None:
    """Return a message that lacks nothing, or else one made of most sources.

    Who contributes to a view in FULL mode is not the same each time: a source that reports when
    something happens does not count as missing.
    """
    start_ns = run.stamps.play_start_ns
    between = [e for e in run.entries if from_s <= (e.at_ns - start_ns) * 1e-9 < to_s]
    return max(
        between,
        key=lambda e: (e.view.mode is Mode.FULL, sum(s.contributed for s in e.view.sources)),
        default=None,
    )


def _frame_of(run: Run, entry: PublishedView) -> int | None:
    """Return the labelled frame of the moment that the objects of a message are placed at.

    Not of the newest data that came in: where vehicles move, that shows them elsewhere.
    """
    shown: Mapping[int, int] = {
        item.stamp_ns: item.frame for item in (*run.truth.sweeps, *run.truth.images)
    }
    at_ns = run.stamps.to_recorded(entry.view.stamp_ns)
    nearest = min(shown, key=lambda stamp_ns: abs(stamp_ns - at_ns), default=None)
    return None if nearest is None or abs(nearest - at_ns) > _NEAR_NS else shown[nearest]


def _level(entry: PublishedView) -> str:
    view = entry.view
    told = f"{view.mode.name}, {view.level.name.lower()} level"
    reason = f": {view.level_reason}" if view.level_reason else ""
    return told + (reason if view.level is FusionLevel.DECISION else "")


def _points(
    run: Run, recording: Recording, entry: PublishedView, there: set[str]
) -> NDArray[np.float32]:
    """Return the sweep of a message in the base frame, nothing where it has none."""
    lidar = entry.view.source("lidar")
    if lidar is None or "lidar" not in there:
        return np.zeros((0, 3), np.float32)
    T = matrix_of(run.truth.T_base_lidar).astype(np.float32)
    return sweep_points(recording, run.stamps.to_recorded(lidar.stamp_ns)) @ T[:3, :3].T + T[:3, 3]


def message_at(recording: Recording, topic: str, stamp_ns: int) -> bytes:
    """Return the message of a topic with a stamp."""
    return next(m.data for m in recording.messages([topic]) if read_stamp_ns(m.data) == stamp_ns)


def sweep_points(recording: Recording, stamp_ns: int) -> NDArray[np.float32]:
    """Return the sweep of a stamp, (N, 3), LiDAR frame."""
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import PointCloud2

    from edge_perception.samples.messages import CLOUD_DTYPE

    message = deserialize_message(message_at(recording, POINTS, stamp_ns), PointCloud2)
    cloud = np.frombuffer(message.data, CLOUD_DTYPE)
    return np.stack([cloud["x"], cloud["y"], cloud["z"]], axis=1)
