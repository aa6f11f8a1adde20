"""What a way to run a set costs in accuracy, on simulated frames and labelled recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_perception.evaluation.frames import FIRST_SEED, load_frame
from edge_perception.evaluation.matching import Judged, ap_table, judge_frame
from edge_perception.evaluation.recorded import RecordedFrame, judge_features
from edge_perception.evaluation.rig import ModelSet, Rig
from edge_perception.optimize.configuration import Configuration

POINTS = 100.0  # of mAP


def mean_average_precision(
    setting: Mapping[str, Configuration], *, frames: int, cache: Path
) -> float:
    """Return the mAP of a setting, in points.

    Args:
        setting: configuration by role, all four roles.
        frames: how many simulated frames, always the same ones.
        cache: folder for rendered frames.
    """
    models = ModelSet(**{role: way.bundle for role, way in setting.items()})
    rig = Rig(models, options={role: way.options() for role, way in setting.items()})
    judged: list[Judged] = []
    try:
        for seed in range(FIRST_SEED, FIRST_SEED + frames):
            frame = load_frame(seed, cache, delays_ms=())
            view = rig.fuse(rig.features(frame))
            truth = frame.truth
            wanted = truth.in_camera | truth.in_lidar
            judged.append(judge_frame(view.objects, truth, wanted=wanted))
    finally:
        rig.close()
    return float(ap_table(Judged.joined(judged))["map"]) * POINTS


def recorded_average_precision(
    setting: Mapping[str, Configuration], frames: Sequence[RecordedFrame]
) -> float:
    """Return the mAP of camera and LiDAR fused on labelled frames of recordings, in points."""
    models = ModelSet(**{role: way.bundle for role, way in setting.items()})
    rig = Rig(models, options={role: way.options() for role, way in setting.items()})
    subset = "camera+lidar"
    judged: list[Judged] = []
    try:
        for frame in frames:
            features = {
                "camera": rig.feature("camera", frame.image, frame.camera),
                "lidar": rig.feature("lidar", frame.cloud, frame.lidar),
            }
            found = judge_features(rig, features, frame.truth, frame.camera, subsets=(subset,))
            judged.append(dict(found)["feature", subset])
    finally:
        rig.close()
    return float(ap_table(Judged.joined(judged))["map"]) * POINTS
