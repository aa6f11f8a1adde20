"""The first decisions of an imported detector: are they plausible, and how do they look."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import ModelError
from edge_perception.core.types import DetectedObject, Geometry, ImageFrame, ImageObject
from edge_perception.encoders import encoders
from edge_perception.models.adapters._boxes import BoxDecoder, Candidates
from edge_perception.models.adapters.audio_tagger import SoundDecoder
from edge_perception.models.decided import decoder_of
from edge_perception.models.golden import generated_inputs
from edge_perception.models.manifest import Manifest

_LOOKED_AT = 200  # strongest boxes
_LEAST = 0.01  # score of a box that is looked at
_MOST_OUTSIDE = 0.1  # share of them that may be where no box can be
_FEW_PX, _SMALL = 2.0, 0.01  # half of the boxes are longer: px, share of the input
_THIN_PX = 0.5  # no detector is trained on boxes that are thinner
_CORNER, _FEW = 0.03, 10  # share of the input; more boxes than that do not gather there by chance
_MOST_BOXES = 0.25  # share of all boxes that may be above the threshold
_MANY = 500
_ALL_HEARD = 0.45


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """What a model found in one picture."""

    objects: tuple[ImageObject, ...] | tuple[DetectedObject, ...]
    faults: tuple[str, ...]  # why the boxes cannot be right; empty: they may be
    drawing: NDArray[np.uint8]  # (H, W, 3), BGR


def look(manifest: Manifest, session: Backend, bgr: NDArray[np.uint8]) -> FirstLook:
    """Run a camera model on a picture.

    Args:
        manifest: role camera.
        session: runs its graph.
        bgr: (H, W, 3).

    Raises:
        InvalidOutputError: the outputs are not what the manifest says.
    """
    encoder = encoders()[manifest.role].make_encoder(manifest, session)
    frame = ImageFrame(stamp_ns=0, frame_id="picture", bgr=bgr)
    outputs = encoder.infer(encoder.preprocess(frame, Geometry()))
    decoder = decoder_of(manifest)
    faults: list[str] = []
    if isinstance(decoder, BoxDecoder):
        candidates = decoder.candidates(outputs, _LEAST)
        faults = implausible(manifest, candidates)
    objects: tuple[ImageObject, ...] = ()
    if not faults:
        objects = encoder.postprocess(outputs, frame, Geometry()).image_objects
    return FirstLook(objects=objects, faults=tuple(faults), drawing=draw(bgr, objects, faults))


def implausible(manifest: Manifest, found: Candidates) -> list[str]:
    """Say why boxes cannot be right: wrong units, layout, activation or classes.

    Args:
        manifest: of the model.
        found: its boxes, strongest first.
    """
    faults: list[str] = []
    if not found.scores.size:
        return faults
    if found.scores.max() > 1.0 + 1e-3 or found.scores.min() < 0.0:
        faults.append(
            f"scores from {found.scores.min():.3g} to {found.scores.max():.3g} are not "
            "from 0 to 1: logits, or another column (activation, layout)"
        )
    count = len(manifest.labels)
    wrong = (found.labels < 0) | (found.labels >= count)
    if wrong.any():
        faults.append(f"class {int(found.labels[wrong][0])} of {count} (labels, first_class)")
    boxes = found.boxes[:_LOOKED_AT]
    size = np.array(manifest.inputs[0].shape[:1:-1], np.float64)  # width, height
    sides = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2
    outside = ((centre < -0.1 * size) | (centre > 1.1 * size)).any(axis=1)
    outside |= (sides > 2.0 * size).any(axis=1) | ~np.isfinite(boxes).all(axis=1)
    turned = (sides < 0).any(axis=1)  # 0: cut at the edge, as RetinaNet and SSD do not sort out
    for what, bad in (
        ("lie outside the picture or are larger than it (size, box, box_unit, decoded)", outside),
        ("have their corners in the wrong order (box)", turned),
    ):
        if bad.mean() > _MOST_OUTSIDE:
            faults.append(f"{bad.sum()} of {len(boxes)} boxes {what}")
    cornered = (np.abs(centre) < _CORNER * size).all(axis=1)
    if len(boxes) > _FEW and cornered.mean() > 0.5:
        faults.append(
            f"{cornered.sum()} of {len(boxes)} boxes are in the first corner (box_unit, decoded)"
        )
    typical = float(np.median(sides.max(axis=1)))
    if not turned.any() and typical < max(_FEW_PX, _SMALL * size.max()):
        faults.append(f"half of the boxes are smaller than {typical:.2g} px (box_unit, decoded)")
    thin = float(np.median(sides.min(axis=1)))
    if not turned.any() and thin < _THIN_PX <= typical:
        faults.append(f"half of the boxes are {thin:.2g} px thin (box, box_column, box_unit)")
    least = float(manifest.postprocessing.get("score_threshold", 0.3))
    strong = int((found.scores >= least).sum())
    if len(found.scores) > _MANY and strong > _MOST_BOXES * len(found.scores):
        faults.append(
            f"{strong} of {len(found.scores)} boxes have a score of {least:g} or more: no picture "
            "holds so much (activation, scale, mean)"
        )
    return faults


def check_scores(manifest: Manifest, session: Backend) -> None:
    """Run a tagger on noise: its scores are from 0 to 1, and not everything is heard.

    Raises:
        ModelError: they cannot be right.
    """
    decoder = decoder_of(manifest)
    if not isinstance(decoder, SoundDecoder):
        return
    scores = decoder.event_scores(session.infer(generated_inputs(manifest.inputs)))
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    if not 0.0 <= low <= high <= 1.0 + 1e-3:
        raise ModelError(
            f"{manifest.name}: scores from {low:.3g} to {high:.3g} are not from 0 to 1 (activation)"
        )
    if len(scores) > 1 and low >= _ALL_HEARD:
        raise ModelError(
            f"{manifest.name}: noise is every sound at once, {low:.3g} and more (activation)"
        )


def draw(
    bgr: NDArray[np.uint8], objects: tuple[ImageObject, ...], faults: list[str]
) -> NDArray[np.uint8]:
    """Return the picture with the boxes, their classes and scores, or with what is wrong."""
    canvas = np.ascontiguousarray(bgr).copy()
    scale = max(0.4, canvas.shape[1] / 1600)
    line = max(1, round(2 * scale))
    for item in sorted(objects, key=lambda one: one.score):
        colour = _colour(item.class_name)
        low = (round(item.x_min), round(item.y_min))
        cv2.rectangle(canvas, low, (round(item.x_max), round(item.y_max)), colour, line)
        text = f"{item.class_name} {item.score:.2f}"
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
        top = max(low[1], height + 4)
        cv2.rectangle(canvas, (low[0], top - height - 4), (low[0] + width, top), colour, -1)
        cv2.putText(
            canvas, text, (low[0], top - 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), line
        )
    texts = [f"{len(objects)} objects"] if not faults else [f"STOPPED: {text}" for text in faults]
    for row, text in enumerate(texts):
        at = (8, round(30 * scale * (row + 1)) + 4)
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 3 * line)
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), line)
    return canvas


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture from a file.

    Raises:
        ModelError: it is none.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ModelError(f"{path}: expected a picture (JPEG, PNG), got none")
    return np.asarray(bgr, np.uint8)


def write_drawing(path: Path, drawing: NDArray[np.uint8]) -> None:
    """Write a drawing.

    Raises:
        ModelError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower() if path.suffix.lower() in (".png", ".jpg", ".jpeg") else ".png"
    done, data = cv2.imencode(kind, drawing)
    try:
        if not done:
            raise OSError("it cannot be encoded")
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ModelError(f"{path}: the drawing cannot be written: {error}") from error


def _colour(name: str) -> tuple[int, int, int]:
    hue = zlib.crc32(name.encode()) % 180
    pixel = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2BGR)
    blue, green, red = (int(value) for value in pixel[0, 0])
    return blue, green, red
