"""Writes what a run leaves behind: summary.json, pictures, a table on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import Mode
from edge_perception.demo.alone import FrameView, frame_views
from edge_perception.demo.rig import draw_rig, message_at, sweep_points
from edge_perception.demo.session import (
    BIRDSEYE_PICTURE,
    CAMERA_PICTURE,
    SUMMARY_FILE,
    TIMELINE_PICTURE,
    Outcome,
)
from edge_perception.demo.summary import Run, cut_reports, summarise
from edge_perception.demo.table import table
from edge_perception.recordings.reader import Recording
from edge_perception.samples.build import IMAGE
from edge_perception.samples.matching import Region, compare
from edge_perception.samples.truth import matrix_of


def write_report(outcome: Outcome, out: Path) -> list[str]:
    """Write the files, print the table, and return what was not as a demo must be."""
    summary = summarise(outcome.run)
    (out / SUMMARY_FILE).write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", "utf-8")
    written = [SUMMARY_FILE, outcome.fused.name]
    if outcome.run.entries:
        written += _timeline(outcome.run, out)
        written += _scene(outcome, out)
        written += draw_rig(outcome, out) if outcome.run.truth.more_cameras else []
    print(table(summary))
    print(f"written to {out}/: {', '.join(written)}")
    return problems(summary)


def problems(summary: Mapping[str, Any]) -> list[str]:
    """Return what a working pipeline never shows; timing is reported, not judged."""
    found = []
    if not summary["modes"].get(Mode.FULL.name):
        found.append("no fused message with all sources")
    for cut in summary["cuts"]:
        if cut["degraded_after_s"] is None:
            found.append(f"{cut['source']} was pulled and no fused message said so")
        if cut["full_after_s"] is None:
            found.append(f"no fused message with all sources after {cut['source']} came back")
    seams = max(0, summary["set_up"]["loops"] - 1)  # a sound card that starts anew is named
    for name, source in summary["sources"].items():
        if source["refused"] > (seams if source["modality"] == "audio" else 0):
            found.append(f"{name}: {source['refused']} frames refused")
    return found


def _timeline(run: Run, out: Path) -> list[str]:
    from edge_perception.demo.pictures.timeline import timeline_picture

    timeline_picture(
        out / TIMELINE_PICTURE,
        entries=run.entries,
        cuts=cut_reports(run),
        start_ns=run.stamps.play_start_ns,
        title="The fused view goes on when a sensor is pulled, and says what it lacks",
    )
    return [TIMELINE_PICTURE]


def _scene(outcome: Outcome, out: Path) -> list[str]:
    """Draw the frame with most cars to find, as all sensors together saw it."""
    import cv2

    from edge_perception.demo.pictures.birdseye import birdseye_picture
    from edge_perception.observe.overview.picture import camera_picture

    run, truth = outcome.run, outcome.run.truth
    region = Region.of(truth)
    view = _richest(frame_views(run.entries, truth, run.stamps), truth.frames, region)
    if view is None:
        return []
    recording = Recording(outcome.recording)
    name = truth.frames[view.frame].name
    camera = camera_picture(
        _image(recording, view.camera_stamp_ns),
        view.entry.view.objects,
        K=truth.K,
        T_camera_base=region.T_camera_base,
        title=f"Fused objects in frame {name}",
    )
    cv2.imwrite(str(out / CAMERA_PICTURE), camera, (cv2.IMWRITE_JPEG_QUALITY, 90))
    T = matrix_of(truth.T_base_lidar)
    birdseye_picture(
        out / BIRDSEYE_PICTURE,
        points_m=sweep_points(recording, view.lidar_stamp_ns) @ T[:3, :3].T + T[:3, 3],
        objects=view.entry.view.objects,
        boxes=truth.frames[view.frame].boxes,
        region=region,
        title=f"Frame {name} from above: fused boxes and labels",
    )
    return [CAMERA_PICTURE, BIRDSEYE_PICTURE]


def _richest(
    views: Mapping[int, Sequence[FrameView]], frames: Sequence[Any], region: Region
) -> FrameView | None:
    found = [view for group in views.values() for view in group[:1]]
    return max(
        found,
        key=lambda v: compare((), frames[v.frame].boxes, region).score.labelled,
        default=None,
    )


def _image(recording: Recording, stamp_ns: int) -> NDArray[np.uint8]:
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CompressedImage

    from edge_perception.samples.images import decoded

    message = deserialize_message(message_at(recording, IMAGE, stamp_ns), CompressedImage)
    return decoded(bytes(message.data), f"{IMAGE} at {stamp_ns}")
