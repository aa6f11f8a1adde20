"""Labels that come back from a labelling tool, as files that `evaluate` and `validate` read.

Boxes in space come back whole. Rectangles in images tell which of the pre-labelled boxes are right
and what they are; a rectangle that was drawn or moved by hand has no box in space and is counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError
from edge_perception.core.json_file import read_json_object
from edge_perception.evaluation.mining import COCO, labels_path, prelabels_path
from edge_perception.samples.labels_file import SCHEMA, read_labels_file

_SAME = 0.8  # overlap of a rectangle with the exported one: it was not moved


@dataclass(kw_only=True)
class Returned:
    """What came back of one recording."""

    frames: dict[int, list[dict[str, Any]]] = field(default_factory=dict)  # boxes by stamp
    left_out: list[str] = field(default_factory=list)


def take_back(
    labels: Path, folder: Path, *, labelled_by: str = ""
) -> Iterator[tuple[Path, int, list[str]]]:
    """Write a file of labels beside each recording; yield it, its boxes and what was left out.

    Args:
        labels: COCO or nuScenes-like, as it was exported and then edited.
        folder: of the export.
        labelled_by: who looked at them, for the training set; empty: not said.

    Raises:
        ConfigurationError: it is neither, or of another export.
    """
    data = read_json_object(labels)
    if "sample_annotation" in data:
        found = _from_space(data, labels)
    elif "annotations" in data and "images" in data:
        found = _from_images(data, labels, folder)
    else:
        raise ConfigurationError(
            f"{labels}: expected 'images' and 'annotations' (COCO), or 'sample_annotation' "
            f"(nuScenes-like), got {', '.join(sorted(data)) or 'nothing'}"
        )
    for recording, returned in found.items():
        path = labels_path(Path(recording))
        text = json.dumps(
            {
                "schema": SCHEMA,
                "origin": f"taken back from {labels.name}",
                "labelled_by": labelled_by,
                "frames": [
                    {"stamp_ns": stamp_ns, "boxes": boxes}
                    for stamp_ns, boxes in sorted(returned.frames.items())
                ],
            },
            indent=1,
        )
        partial = path.with_name(path.name + ".partial.json")
        partial.write_text(text, encoding="utf-8")
        try:
            read_labels_file(partial)  # numbers that no road user has are refused before
        except ConfigurationError:
            partial.unlink()
            raise
        partial.replace(path)
        yield path, sum(map(len, returned.frames.values())), returned.left_out


def _from_space(data: Mapping[str, Any], labels: Path) -> dict[str, Returned]:
    samples = {item["token"]: item for item in _rows(data, "sample", labels)}
    found: dict[str, Returned] = {}
    for item in samples.values():
        found.setdefault(item["recording"], Returned()).frames[int(item["stamp_ns"])] = []
    for number, item in enumerate(_rows(data, "sample_annotation", labels)):
        where = f"{labels}: sample_annotation[{number}]"
        sample = samples.get(_field(item, "sample_token", where))
        if sample is None:
            raise ConfigurationError(f"{where}: no sample has the token {item['sample_token']}")
        width, length, height = _numbers(item, "size", 3, where)
        w, x, y, z = _numbers(item, "rotation", 4, where)
        points = item.get("num_lidar_pts", -1)  # as nuScenes has it; -1: nobody counted
        if type(points) is not int or points < -1:
            raise ConfigurationError(
                f"{where}: num_lidar_pts: expected a whole number, got {points!r}"
            )
        found[sample["recording"]].frames[int(sample["stamp_ns"])].append(
            {
                "points": points,
                "label": str(_field(item, "category_name", where)),
                "center_m": _numbers(item, "translation", 3, where),
                "size_m": [length, width, height],
                "yaw_rad": math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)),
            }
        )
    return found


def _from_images(data: Mapping[str, Any], labels: Path, folder: Path) -> dict[str, Returned]:
    names = {item["id"]: item["name"] for item in _rows(data, "categories", labels)}
    images = {item["id"]: item for item in _rows(data, "images", labels)}
    exported = {
        (item["image_id"], item["attributes"]["box"]): item
        for item in _rows(read_json_object(folder / COCO), "annotations", folder / COCO)
    }
    found: dict[str, Returned] = {}
    boxes: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for image in images.values():
        recording, stamp_ns = image["recording"], int(image["stamp_ns"])
        if recording not in boxes:
            boxes[recording] = _prelabels(folder, image)
        returned = found.setdefault(recording, Returned())
        # What the image cannot show stays as it was seen: nobody could say otherwise.
        shown = {box for image_id, box in exported if image_id == image["id"]}
        returned.frames[stamp_ns] = [
            box for i, box in enumerate(boxes[recording].get(stamp_ns, [])) if i not in shown
        ]
    for number, item in enumerate(_rows(data, "annotations", labels)):
        where = f"annotation {item.get('id', number)}"
        shown_in = images.get(item.get("image_id"))
        if shown_in is None:
            raise ConfigurationError(f"{labels}: {where}: no image {item.get('image_id')}")
        returned, stamp_ns = found[shown_in["recording"]], int(shown_in["stamp_ns"])
        index: Any = (item.get("attributes") or {}).get("box")
        before = exported.get((shown_in["id"], index))
        name = names.get(item.get("category_id"))
        if before is None:
            returned.left_out.append(f"{where}: drawn in the image, it has no box in space")
        elif name is None:
            returned.left_out.append(f"{where}: no category {item.get('category_id')}")
        elif _overlap(item["bbox"], before["bbox"]) < _SAME:
            returned.left_out.append(f"{where}: moved in the image, its box in space is not known")
        else:
            box = boxes[shown_in["recording"]][stamp_ns][index]
            returned.frames[stamp_ns].append({**box, "label": name})
    return found


def _prelabels(folder: Path, image: Mapping[str, Any]) -> dict[int, list[dict[str, Any]]]:
    key = str(image.get("key") or Path(image["recording"]).stem)
    data = read_json_object(prelabels_path(folder, Path(key).name))
    return {int(frame["stamp_ns"]): frame["boxes"] for frame in data["frames"]}


def _overlap(a: list[float], b: list[float]) -> float:
    """Return intersection over union of two rectangles as x, y, width, height."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inside = max(width, 0.0) * max(height, 0.0)
    return inside / max(a[2] * a[3] + b[2] * b[3] - inside, 1e-9)


def _rows(data: Mapping[str, Any], name: str, file: Path) -> list[dict[str, Any]]:
    rows = data.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigurationError(f"{file}: {name}: expected a list of objects")
    return rows


def _field(item: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in item:
        raise ConfigurationError(f"{where}: expected '{name}', got {', '.join(sorted(item))}")
    return item[name]


def _numbers(item: Mapping[str, Any], name: str, count: int, where: str) -> list[float]:
    values = _field(item, name, where)
    good = isinstance(values, list) and len(values) == count
    if not good or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
        raise ConfigurationError(f"{where}: {name}: expected {count} numbers, got {values!r}")
    return [float(value) for value in values]
