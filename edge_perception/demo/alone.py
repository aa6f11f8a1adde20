"""Correct cars of the running nodes, and of each sensor alone through the same fusion code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_perception.core.types import DetectedObject, Feature, Mode, PublishedView
from edge_perception.fusion.config import DecisionConfig
from edge_perception.fusion.decision import decide
from edge_perception.recordings.schedule import Cut, StampMap
from edge_perception.samples.matching import Region, Score, compare
from edge_perception.samples.truth import GroundTruth

CAMERA, LIDAR = "camera", "lidar"
SETTLE_S = 1.5  # after the start and after a cut, until everything is OK again
LEAD_S = 0.3  # before a cut: the message of a moment comes after it
REPEATS = 3  # times each frame is looked for
PAIR_NS = 60_000_000  # an image this near to a sweep shows the same moment


@dataclass(frozen=True, kw_only=True)
class FrameScores:
    """One distinct frame compared with its labels."""

    name: str
    scores: Mapping[str, Score]  # fused, camera, lidar


@dataclass(frozen=True, kw_only=True)
class FrameView:
    """One distinct frame as the running nodes saw it, all sensors OK."""

    frame: int
    entry: PublishedView
    camera_stamp_ns: int  # of the recording
    lidar_stamp_ns: int


def frames_to_collect(
    truth: GroundTruth, cuts: Collection[Cut], start_ns: int
) -> dict[str, set[int]]:
    """Return the stamps of the recording whose features are needed, by source.

    They are the first few showings of every frame away from the start and from the cuts.
    """
    taken: dict[int, int] = defaultdict(int)
    wanted: dict[str, set[int]] = {CAMERA: set(), LIDAR: set()}
    for sweep in truth.sweeps:
        time_s = (sweep.stamp_ns - start_ns) * 1e-9
        near = any(cut.start_s - LEAD_S <= time_s < cut.end_s + SETTLE_S for cut in cuts)
        if time_s < SETTLE_S or near or taken[sweep.frame] >= REPEATS:
            continue
        taken[sweep.frame] += 1
        wanted[LIDAR].add(sweep.stamp_ns)
        wanted[CAMERA].update(
            image.stamp_ns
            for image in truth.images
            if abs(image.stamp_ns - sweep.stamp_ns) <= PAIR_NS
        )
    return wanted


def frame_views(
    entries: Iterable[PublishedView], truth: GroundTruth, stamps: StampMap
) -> dict[int, list[FrameView]]:
    """Return, by frame of the sweep, the FULL messages with an image of the same moment."""
    sweeps = {shown.stamp_ns: shown.frame for shown in truth.sweeps}
    views: dict[int, list[FrameView]] = defaultdict(list)
    for entry in entries:
        camera, lidar = entry.view.source(CAMERA), entry.view.source(LIDAR)
        if entry.view.mode != Mode.FULL or not (camera and lidar):
            continue
        if not (camera.contributed and lidar.contributed):
            continue
        camera_ns = stamps.to_recorded(camera.stamp_ns)
        lidar_ns = stamps.to_recorded(lidar.stamp_ns)
        frame = sweeps.get(lidar_ns)
        if frame is not None and abs(camera_ns - lidar_ns) <= PAIR_NS:
            views[frame].append(
                FrameView(
                    frame=frame, entry=entry, camera_stamp_ns=camera_ns, lidar_stamp_ns=lidar_ns
                )
            )
    return views


def compare_frames(
    entries: Sequence[PublishedView],
    truth: GroundTruth,
    stamps: StampMap,
    collected: Mapping[tuple[str, int], bytes],
) -> list[FrameScores]:
    """Compare fused, camera alone and LiDAR alone on every distinct frame.

    Args:
        entries: fused messages of the run.
        truth: labels.
        stamps: from the run to the recording.
        collected: serialised features by source and recorded stamp.

    Returns:
        One entry for every frame that was seen by all sensors and whose features are there.
    """
    region = Region.of(truth)
    compared = []
    for frame, views in sorted(frame_views(entries, truth, stamps).items()):
        for view in views:
            stamp_of = {CAMERA: view.camera_stamp_ns, LIDAR: view.lidar_stamp_ns}
            data = [collected.get((source, stamp)) for source, stamp in stamp_of.items()]
            features = [feature_of(item) for item in data if item is not None]
            if len(features) == len(stamp_of):
                break
        else:
            continue
        objects = {"fused": view.entry.view.objects} | {f.source: alone(f) for f in features}
        scores = {
            name: compare(found, truth.frames[frame].boxes, region).score
            for name, found in objects.items()
        }
        compared.append(FrameScores(name=truth.frames[frame].name, scores=scores))
    return compared


def alone(feature: Feature) -> tuple[DetectedObject, ...]:
    """Return what decision-level fusion makes of one source."""
    return decide({feature.source: feature}, DecisionConfig()).objects


def feature_of(data: bytes) -> Feature:
    """Decode a serialised Feature message."""
    from rclpy.serialization import deserialize_message

    from edge_perception.msg import Feature as FeatureMessage
    from edge_perception.nodes.conversion import feature_from_msg

    return feature_from_msg(deserialize_message(data, FeatureMessage))
