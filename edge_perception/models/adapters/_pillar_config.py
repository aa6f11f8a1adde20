"""Reads the configuration files of pillar networks.

Autoware's parameters, OpenPCDet's YAML, mmdetection3d's Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edge_perception.core.errors import ModelError
from edge_perception.models.adapters._mmdet3d_config import mmdet3d_values
from edge_perception.models.python_config import read_python_config

_LARGEST = 1 << 20


_USUAL_SCORE = 0.35


@dataclass(frozen=True, kw_only=True)
class PillarConfig:
    """What such a file says; None and empty: nothing."""

    kind: str  # autoware, openpcdet or mmdet3d
    name: str  # of the file
    labels: list[str] = field(default_factory=list)
    range_m: list[float] | None = None
    voxel_m: list[float] | None = None
    max_pillars: int | None = None
    max_points: int | None = None
    point_features: list[str] | None = None
    extra_features: int | None = None
    score_threshold: float | None = None
    circle_m: float | None = None
    yaw_norms: list[float] = field(default_factory=list)
    intensity_scale: float | None = None  # of the brightest return
    tasks: list[int] = field(default_factory=list)  # labels of each head of CenterPoint
    head: Mapping[str, Any] = field(default_factory=dict)  # as OpenPCDet's DENSE_HEAD


def score_of(config: PillarConfig | None, least: float = 0.001) -> tuple[float, str]:
    """Return the least score of a box, and why: what a configuration says, not below `least`."""
    told = config.score_threshold if config is not None else None
    if config is None or told is None:
        return _USUAL_SCORE, "usual; no file says it"
    if 0.0 <= told < least:
        return least, f"'{config.name}' has {told:g}, of which each frame is full"
    return told, f"'{config.name}'"


def read_pillar_config(path: Path) -> PillarConfig:
    """Read a configuration file.

    Raises:
        ModelError: it cannot be read, or is of no kind that is known.
    """
    if path.suffix == ".py":
        return _python(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path.name}: expected at most {_LARGEST} bytes")
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ModelError(f"{path}: expected YAML: {' '.join(str(error).split())[:200]}") from error
    try:
        parameters = _parameters(data)
        if parameters is not None:
            return _autoware(path.name, parameters)
        if isinstance(data, Mapping) and "MODEL" in data:
            return _openpcdet(path, data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"{path.name}: not as Autoware or OpenPCDet write it: {error!r}"
        ) from error
    raise ModelError(
        f"{path.name}: expected the parameters of Autoware's lidar_centerpoint, a configuration "
        "of OpenPCDet, or one of mmdetection3d (.py)"
    )


def _python(path: Path) -> PillarConfig:
    data = read_python_config(path)
    try:
        return PillarConfig(kind="mmdet3d", name=path.name, **mmdet3d_values(path.name, data))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ModelError(
            f"{path.name}: not as mmdetection3d writes it, or computed, which is not read: "
            f"{error!r}"
        ) from error


def _parameters(data: Any) -> Mapping[str, Any] | None:
    """Return `ros__parameters` of the file's only section, with those of `model_params`."""
    if not isinstance(data, Mapping) or len(data) != 1:
        return None
    (section,) = data.values()
    if not isinstance(section, Mapping) or "ros__parameters" not in section:
        return None
    values = section["ros__parameters"]
    merged = dict(values)
    for inner in ("model_params", "post_process_params"):
        merged |= dict(values.get(inner, {}))
    return merged


def _autoware(name: str, data: Mapping[str, Any]) -> PillarConfig:
    width = int(data["point_feature_size"])
    # lidar_centerpoint: x, y, z, time lag; with five the intensity comes before the time.
    features = {4: ["x", "y", "z", "time"], 5: ["x", "y", "z", "intensity", "time"]}
    if width not in features:
        raise ModelError(f"{name}: point_feature_size: expected 4 or 5, got {width}")
    return PillarConfig(
        kind="autoware",
        name=name,
        labels=[str(label).lower() for label in data["class_names"]],
        range_m=[float(v) for v in data["point_cloud_range"]],
        voxel_m=[float(v) for v in data["voxel_size"]],
        max_pillars=_largest(data["max_voxel_size"]),
        point_features=features[width],
        extra_features=int(data["encoder_in_feature_size"]) - width,
        score_threshold=_optional(data.get("score_threshold")),
        circle_m=_optional(data.get("circle_nms_dist_threshold")),
        yaw_norms=[float(v) for v in data.get("yaw_norm_thresholds", [])],
    )


def _openpcdet(path: Path, data: Mapping[str, Any]) -> PillarConfig:
    sections = data.get("DATA_CONFIG", {})
    base = str(sections.get("_BASE_CONFIG_", ""))
    sections = {**_base_of(path, base), **sections}
    set_of = f"{sections.get('DATASET', '')} {base}".lower()
    steps = {step["NAME"]: step for step in sections.get("DATA_PROCESSOR", [])}
    voxels = steps.get("transform_points_to_voxels", {})
    used = sections.get("POINT_FEATURE_ENCODING", {}).get("used_feature_list")
    spelled = {"timestamp": "time"}
    limits = voxels.get("MAX_NUMBER_OF_VOXELS")
    after = data["MODEL"].get("POST_PROCESSING", {})
    bounds = sections.get("POINT_CLOUD_RANGE")
    head = dict(data["MODEL"].get("DENSE_HEAD", {}))
    # Channels of CenterHead follow the classes of its heads, whatever order CLASS_NAMES has.
    heads = head.get("CLASS_NAMES_EACH_HEAD", [])
    names = [label for labels in heads for label in labels] or data["CLASS_NAMES"]
    return PillarConfig(
        kind="openpcdet",
        name=path.name,
        intensity_scale=255.0 if "nuscenes" in set_of else None,
        labels=[str(label).lower() for label in names],
        tasks=[len(labels) for labels in heads],
        range_m=[float(v) for v in bounds] if bounds else None,
        voxel_m=[float(v) for v in voxels["VOXEL_SIZE"]] if voxels else None,
        max_pillars=_count(limits["test"]) if limits else None,
        max_points=_count(voxels["MAX_POINTS_PER_VOXEL"]) if voxels else None,
        point_features=[spelled.get(n, n) for n in used] if used else None,
        score_threshold=_optional(after.get("SCORE_THRESH")),
        head=head,
    )


def _base_of(path: Path, base: str) -> dict[str, Any]:
    """Return what a configuration's base says, where the tree of OpenPCDet is there."""
    if not base or Path(base).is_absolute() or ".." in Path(base).parts:
        return {}
    found = next((f for folder in path.resolve().parents if (f := folder / base).is_file()), None)
    if found is None or found.stat().st_size > _LARGEST:
        return {}
    try:
        data = yaml.safe_load(found.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ModelError(f"{found}: expected YAML: {' '.join(str(error).split())[:200]}") from error
    return dict(data) if isinstance(data, Mapping) else {}


def _largest(value: Any) -> int:
    """Autoware gives a number, or the least, usual and largest number."""
    return _count(max(value) if isinstance(value, (list, tuple)) else value)


def _count(value: Any) -> int:
    number = int(value)
    if number < 1:
        raise ValueError(f"expected pillars and points of at least 1, got {value}")
    return number


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
