"""Targets of the centre-heatmap heads and their loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.samples import CLASSES

CELL_M = 0.8
ORIGIN_M = (-25.6, -25.6)
SHAPE = (96, 64)
_SIGMA = (1.0, 1.2, 1.4, 0.7, 0.8)  # cells, by class
_NEIGHBOURS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


def make_targets(
    boxes: NDArray, labels: NDArray, visible: NDArray, *, spread: float = 1.0
) -> dict[str, NDArray[np.float32]]:
    """Return heat (K, H, W), box (8, H, W), box_mask (H, W) and heat_mask (H, W).

    Args:
        boxes: (M, 9), base frame.
        labels: (M,), class or IGNORED.
        visible: (M,), False for boxes that nobody can find: masked, not background.
        spread: width of the peaks; a near miss costs less where they are wide.
    """
    heat = np.zeros((len(CLASSES), *SHAPE), np.float32)
    box_target = np.zeros((8, *SHAPE), np.float32)
    box_mask = np.zeros(SHAPE, np.float32)
    heat_mask = np.ones(SHAPE, np.float32)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32) + 0.5
    for box, label, seen in zip(boxes, labels, visible, strict=True):
        row, column = (box[0] - ORIGIN_M[0]) / CELL_M, (box[1] - ORIGIN_M[1]) / CELL_M
        if not (-2 <= row < SHAPE[0] + 2 and -2 <= column < SHAPE[1] + 2):
            continue
        if label < 0 or not seen:
            _mask_footprint(heat_mask, box, rows, columns)
            continue
        i, j = int(np.floor(row)), int(np.floor(column))
        if not (0 <= i < SHAPE[0] and 0 <= j < SHAPE[1]):
            continue
        # The centre of the cell that holds the object is the peak, so that it reaches 1.
        distance = (rows - i - 0.5) ** 2 + (columns - j - 0.5) ** 2
        np.maximum(
            heat[label], np.exp(-distance / (2 * (spread * _SIGMA[label]) ** 2)), out=heat[label]
        )
        near = _NEIGHBOURS if label <= 2 else _NEIGHBOURS[:1]
        for k, (di, dj) in enumerate(near):
            a, b = i + di, j + dj
            if not (0 <= a < SHAPE[0] and 0 <= b < SHAPE[1]) or (k and box_mask[a, b] == 1.0):
                continue
            box_target[:, a, b] = (
                row - a, column - b, box[2], *np.log(box[3:6]), np.sin(box[6]), np.cos(box[6]),
            )  # fmt: skip
            box_mask[a, b] = 0.4 if k else 1.0
    heat_mask[heat.max(axis=0) > 0.3] = 1.0
    return {"heat": heat, "box": box_target, "box_mask": box_mask, "heat_mask": heat_mask}


def make_image_targets(
    rectangles: NDArray, depths_m: NDArray, labels: NDArray, visible: NDArray, *, shape: tuple
) -> dict[str, NDArray[np.float32]]:
    """Return image_heat (K, H, W), image_box (3, H, W), and the masks of both, (H, W).

    Args:
        rectangles: (M, 4), x_min, y_min, x_max, y_max, pixels of the map; an empty one: not seen.
        depths_m: (M,), of the centres.
        labels: (M,), class or IGNORED.
        visible: (M,), False for boxes that nobody can find: masked, not background.
        shape: rows and columns of the map.
    """
    heat = np.zeros((len(CLASSES), *shape), np.float32)
    box_target = np.zeros((3, *shape), np.float32)
    box_mask, heat_mask = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    for (x0, y0, x1, y1), depth, label, seen in zip(
        rectangles, depths_m, labels, visible, strict=True
    ):
        width, height = x1 - x0, y1 - y0
        if width <= 0 or height <= 0:
            continue
        if label < 0 or not seen:
            inside = (columns >= x0 - 1) & (columns <= x1) & (rows >= y0 - 1) & (rows <= y1)
            heat_mask[inside] = 0.0
            continue
        i, j = int(0.5 * (y0 + y1)), int(0.5 * (x0 + x1))
        across, down = max(0.15 * width, 0.7), max(0.15 * height, 0.7)
        distance = ((columns - j) / across) ** 2 + ((rows - i) / down) ** 2
        np.maximum(heat[label], np.exp(-0.5 * distance), out=heat[label])
        box_target[:, i, j] = np.log((max(depth, 1.0), max(width, 0.5), max(height, 0.5)))
        box_mask[i, j] = 1.0
    heat_mask[heat.max(axis=0) > 0.3] = 1.0
    return {
        "image_heat": heat, "image_box": box_target,
        "image_box_mask": box_mask, "image_heat_mask": heat_mask,
    }  # fmt: skip


def focal_loss(heat: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss of heatmap logits."""
    positive = (wanted > 0.999).float()
    log_p, log_n = functional.logsigmoid(heat), functional.logsigmoid(-heat)
    p = torch.sigmoid(heat)
    loss = positive * (1 - p) ** 2 * log_p
    loss = loss + (1 - positive) * (1 - wanted) ** 4 * p**2 * log_n
    return -(loss * mask).sum() / positive.sum().clamp(min=1)


def image_loss(heat: Tensor, box: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return heatmap and box loss of the heads on the image."""
    heat_loss = focal_loss(heat, target["image_heat"], target["image_heat_mask"][:, None])
    weight = target["image_box_mask"]
    error = (box - target["image_box"]).abs().sum(dim=1)
    return heat_loss, (error * weight).sum() / weight.sum().clamp(min=1)


def detection_loss(heat: Tensor, box: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the penalty-reduced focal loss (CornerNet, Law and Deng 2018) and the box loss."""
    heat_loss = focal_loss(heat, target["heat"], target["heat_mask"][:, None])
    weight = target["box_mask"]
    total = weight.sum().clamp(min=1)
    error = (box[:, :6] - target["box"][:, :6]).abs().sum(dim=1)
    # The axis, either way round, and how likely its front is told to be where it is: the length
    # of the heading says how sure that is (training/nets.py, `Heads`).
    heading, wanted = box[:, 6:8], target["box"][:, 6:8]
    axis = heading / torch.linalg.vector_norm(heading, dim=1, keepdim=True).clamp(min=0.05)
    off = torch.minimum((axis - wanted).abs().sum(dim=1), (axis + wanted).abs().sum(dim=1))
    front = -torch.log((0.5 + 0.5 * (heading * wanted).sum(dim=1)).clamp(min=1e-3, max=1.0))
    return heat_loss, ((error + off + front) * weight).sum() / total


def _mask_footprint(mask: NDArray, box: NDArray, rows: NDArray, columns: NDArray) -> None:
    x, y = rows * CELL_M + ORIGIN_M[0] - box[0], columns * CELL_M + ORIGIN_M[1] - box[1]
    c, s = np.cos(box[6]), np.sin(box[6])
    inside = (np.abs(x * c + y * s) < 0.5 * box[3] + CELL_M) & (
        np.abs(y * c - x * s) < 0.5 * box[4] + CELL_M
    )
    mask[inside] = 0.0
