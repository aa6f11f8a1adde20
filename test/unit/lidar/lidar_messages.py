"""PointCloud2 messages of any layout, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

STAMP_NS = 1_700_000_000_250_000_000
CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


def cloud_msg(
    values: Mapping[str, Any],
    kinds: Mapping[str, str] | None = None,
    *,
    gap: int = 0,
    lead: int = 0,
    big_endian: bool = False,
    height: int = 1,
    row_padding: int = 0,
    is_dense: bool = True,
) -> SimpleNamespace:
    """A message of `values` by field name, float32 where `kinds` says nothing else.

    `lead` bytes precede the first field, `gap` bytes follow each, `row_padding` each row; all of
    them rubbish.
    """
    fields, offset = [], lead
    for name in values:
        kind = (kinds or {}).get(name, "f4")
        fields.append((name, kind, offset))
        offset += int(kind[1]) + gap
    count = len(next(iter(values.values())))
    width = count // height
    row_step = width * offset + row_padding
    data = np.random.default_rng(9).integers(0, 256, height * row_step, dtype=np.uint8)
    view = np.ndarray(
        (height, width),
        np.dtype(
            {
                "names": [name for name, _, _ in fields],
                "formats": [(">" if big_endian else "<") + kind for _, kind, _ in fields],
                "offsets": [at for _, _, at in fields],
                "itemsize": offset,
            }
        ),
        data,
        strides=(row_step, offset),
    )
    for name, column in values.items():
        view[name] = np.asarray(column).reshape(height, width)
    return SimpleNamespace(
        header=SimpleNamespace(
            stamp=SimpleNamespace(sec=STAMP_NS // 10**9, nanosec=STAMP_NS % 10**9),
            frame_id="lidar",
        ),
        width=width,
        height=height,
        point_step=offset,
        row_step=row_step,
        is_bigendian=big_endian,
        is_dense=is_dense,
        fields=[
            SimpleNamespace(name=name, offset=at, datatype=CODES[kind], count=1)
            for name, kind, at in fields
        ],
        data=data.tobytes(),
    )


def xyz(count: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    points = np.random.default_rng(seed).uniform(-50, 50, (3, count)).astype(np.float32)
    return dict(zip("xyz", points, strict=True))
