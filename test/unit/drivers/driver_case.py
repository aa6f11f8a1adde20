"""What one row of docs/drivers.md promises, and the messages that hold it to that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

STAMP_NS = 1_760_000_000_123_456_789
PERIOD_NS = 100_000_000
OK, WARN, REFUSED = "OK", "WARN", "refused"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing a driver publishes."""

    row: str  # name in the first column of the table
    modality: str
    make: Callable[[int], Any]  # number of the frame to a message
    kind: str  # type of these messages
    before: tuple[
        tuple[str, Any], ...
    ] = ()  # type and message that come first: calibration, format
    stamp_ns: int = STAMP_NS  # of frame 0
    decoded: Callable[[Any], None] = lambda _frame: None  # asserts on the sensor frame of frame 0
    placed: np.ndarray | None = None  # points of frame 0 in the vehicle's frame, (N, 3), m
    calibrated: Callable[[Any], None] = lambda _geometry: None  # asserts on the geometry
    state: str = OK
    says: tuple[str, ...] = ()  # in the warning or the reason
    notes: tuple[str, ...] = ()  # read otherwise than told; said once
    parameters: Mapping[str, Any] = field(default_factory=dict)  # instead of the row's
    part: str = ""  # which of several cases of the row

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.row} {self.part}".strip()


def header(stamp_ns: int, frame_id: str) -> SimpleNamespace:
    sec, nanosec = divmod(stamp_ns, 10**9)
    return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id)


def noise(shape: Any, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, scale, shape)
