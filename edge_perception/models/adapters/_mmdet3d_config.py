"""Reads mmdetection3d's configurations: Python, read and never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_perception.core.errors import ModelError
from edge_perception.models.python_config import UNREAD

_FEATURES = {4: ["x", "y", "z", "intensity"], 5: ["x", "y", "z", "intensity", "time"]}
_CODER = "DeltaXYZWLHRBBoxCoder"
_HALF_PI = 1.5707963267948966


def mmdet3d_values(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration says, by the fields of a PillarConfig.

    Raises:
        ModelError: it is no detector on pillars of mmdetection3d 1.0 or later.
    """
    model = _dict(data.get("model"))
    prep = _dict(model.get("data_preprocessor"))
    layer = _first_dict(
        prep.get("voxel_layer"), model.get("voxel_layer"), model.get("pts_voxel_layer")
    )
    encoder = _first_dict(model.get("voxel_encoder"), model.get("pts_voxel_encoder"))
    head = _first_dict(model.get("bbox_head"), model.get("pts_bbox_head"))
    if not layer or not head:
        raise ModelError(
            f"{name}: expected mmdetection3d's configuration of a detector on pillars: "
            "model with data_preprocessor.voxel_layer and bbox_head"
        )
    bounds = _first(
        layer.get("point_cloud_range"), encoder.get("point_cloud_range"),
        data.get("point_cloud_range"),
    )  # fmt: skip
    test = _dict(model.get("test_cfg"))
    test = _dict(test.get("pts")) or test
    channels = encoder.get("in_channels")
    if channels is not None and channels not in _FEATURES:
        raise ModelError(f"{name}: in_channels: expected 4 or 5, got {channels}")
    limits = layer.get("max_voxels")
    limits = limits[-1] if isinstance(limits, list | tuple) else limits  # of training, of testing
    tasks = _tasks(head)
    return {
        "labels": [str(label).lower() for label in _labels(data, tasks)],
        "range_m": _numbers(bounds),
        "voxel_m": _numbers(layer.get("voxel_size")),
        "max_pillars": _whole(limits),
        "max_points": _whole(layer.get("max_num_points")),
        "point_features": _FEATURES.get(channels) if channels is not None else None,
        "intensity_scale": _intensity(data),
        "score_threshold": _number(_first(test.get("score_thr"), test.get("score_threshold"))),
        "tasks": [len(names) for names in tasks],
        "head": _anchored(name, head),
    }


def _tasks(head: Mapping[str, Any]) -> list[list[str]]:
    """Return the class names of each task of a CenterHead."""
    tasks = head.get("tasks")
    if not isinstance(tasks, list | tuple):
        return []
    return [list(_dict(task).get("class_names", ())) for task in tasks]


def _labels(data: Mapping[str, Any], tasks: list[list[str]]) -> list[str]:
    if tasks:
        return [name for names in tasks for name in names]
    found = _first(data.get("class_names"), _dict(data.get("metainfo")).get("classes"))
    return list(found) if isinstance(found, list | tuple) and UNREAD not in found else []


def _anchored(name: str, head: Mapping[str, Any]) -> dict[str, Any]:
    """Return the head's anchors as OpenPCDet writes them, which the adapter reads."""
    generator = _dict(head.get("anchor_generator"))
    if not generator:
        return {}
    sizes, ranges = generator.get("sizes", [[3.9, 1.6, 1.56]]), generator.get("ranges", [])
    if len(generator.get("scales", [1])) > 1:
        raise ModelError(f"{name}: expected anchors of one scale, got several")
    if all(size[0] < size[1] for size in sizes):
        raise ModelError(
            f"{name}: anchors {sizes} have the width first, as before mmdetection3d 1.0, whose "
            "boxes turn the other way; export the model with 1.0 or later"
        )
    ranges = list(ranges) * len(sizes) if len(ranges) == 1 else ranges
    if len({tuple(bounds[k] for k in (0, 1, 3, 4)) for bounds in ranges}) != 1:
        raise ModelError(f"{name}: expected anchors of one range in x and y, got {ranges}")
    coder = str(_dict(head.get("bbox_coder")).get("type", _CODER)).rpartition(".")[2]
    if coder != _CODER:
        raise ModelError(f"{name}: bbox_coder: expected {_CODER}, got {coder}")
    aligned = str(generator.get("type", "")).rpartition(".")[2].startswith("Aligned")
    aligned = aligned and not generator.get("align_corner", False)
    return {
        "USE_DIRECTION_CLASSIFIER": head.get("use_direction_classifier", True),
        "DIR_OFFSET": float(head.get("dir_offset", -_HALF_PI)),
        "DIR_LIMIT_OFFSET": float(head.get("dir_limit_offset", 0.0)),
        "ANCHOR_GENERATOR_CONFIG": [
            {
                "anchor_sizes": [list(size)],
                "anchor_rotations": list(generator.get("rotations", [0, _HALF_PI])),
                "anchor_bottom_heights": [bounds[2]],
                "align_center": aligned,
                "range_m": [bounds[0], bounds[1], bounds[3], bounds[4]],
            }
            for size, bounds in zip(sizes, ranges, strict=True)
        ],
    }


def _intensity(data: Mapping[str, Any]) -> float | None:
    """Return the brightest intensity of the data set; None: not known."""
    kind = str(data.get("dataset_type", "")).lower()
    if "kitti" in kind:
        return 1.0
    return 255.0 if "nus" in kind else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first_dict(*values: Any) -> dict[str, Any]:
    return next((value for value in values if isinstance(value, dict)), {})


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None and value is not UNREAD), None)


def _numbers(value: Any) -> list[float] | None:
    return None if value is None or value is UNREAD else [float(item) for item in value]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _whole(value: Any) -> int | None:
    return None if value is None or value is UNREAD or int(value) < 1 else int(value)
