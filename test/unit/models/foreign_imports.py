"""Imports of foreign graphs, tried on a picture, and the boxes that must be found there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_graphs import TRUTH, corners

from edge_perception.backends import Backend
from edge_perception.models.adapters._coco import COCO_LABELS, COCO_PAPER_LABELS
from edge_perception.models.manifest import Bundle, Manifest
from edge_perception.releases.first_look import FirstLook, look
from edge_perception.releases.importing import import_model
from edge_perception.releases.recognising import Recognised, recognise

PICTURE = np.full((100, 200, 3), 90, np.uint8)  # twice as wide as high; the input is 3 : 2


def expected(resize: str) -> list[list[float]]:
    """Corners in the picture, strongest first, by hand."""
    scale, offset = np.array([0.48, 0.48]), np.array([0.0, 0.0])
    if resize == "center":
        offset = np.array([0.0, 8.0])
    elif resize == "stretch":
        scale = np.array([96 / 200, 64 / 100])
    boxes = [(corners(row).reshape(2, 2) - offset) / scale - 0.5 for row in range(len(TRUTH))]
    return [np.clip(box, -0.5, [199.5, 99.5]).reshape(-1).tolist() for box in boxes]


def bring(path: Path, said: dict[str, Any], **more: Any) -> tuple[Bundle, FirstLook, Recognised]:
    seen: list[FirstLook] = []

    def trial(manifest: Manifest, session: Backend) -> None:
        seen.append(look(manifest, session, PICTURE))

    given = said.get("labels", "")
    named = {"coco80": COCO_LABELS, "coco91": COCO_PAPER_LABELS}
    labels = given if isinstance(given, list) else named.get(given, ())
    recognised = recognise(path, said=said, **more)
    bundle = import_model(
        path,
        adapter=recognised.adapter.name,
        into=path.parent / "models",
        labels=labels,
        recognised=recognised,
        trial=trial,
        replace=True,
    )
    return bundle, seen[0], recognised


def check(seen: FirstLook, resize: str, *, within: float = 0.05) -> None:
    assert seen.faults == ()
    found = [(o.class_name, o.score, [o.x_min, o.y_min, o.x_max, o.y_max]) for o in seen.objects]
    assert [name for name, _, _ in found] in (["car", "pedestrian"], ["car", "person"])
    assert [score for _, score, _ in found] == pytest.approx([0.9, 0.6], abs=2e-3)
    for (_, _, box), wanted in zip(found, expected(resize), strict=True):
        assert box == pytest.approx(wanted, abs=within)
