"""Gives sound events their bearing, where the microphones allow it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.types import UNKNOWN, Geometry, SoundEvent
from edge_perception.encoders.audio.direction import SPAN_S, DirectionFinder
from edge_perception.encoders.audio.stream import AudioWindow


class SoundLocator:
    """Finds the direction of windows with an event; a quiet window costs nothing."""

    def __init__(self) -> None:
        self._finder: DirectionFinder | None = None
        self._steered_for: tuple[int, bytes] | None = None

    def locate(
        self, events: tuple[SoundEvent, ...], window: AudioWindow, geometry: Geometry
    ) -> tuple[tuple[SoundEvent, ...], str]:
        """Return the events with bearings, and a warning where channels and array do not fit.

        The bearing is that of the loudest sound. With two events at once it could be that of
        either, so neither gets one; all directions are told beside it.
        """
        if geometry.microphones_m is None or not window.recent:
            return events, ""
        channels, wanted = window.recent[0].shape[1], len(geometry.microphones_m)
        if channels != wanted:
            return events, (
                f"no bearings: microphone_positions has {wanted} microphones, "
                f"the sound {channels} channels"
            )
        if not events:
            return events, ""
        finder = self._finder_for(geometry.microphones_m, geometry.T_base_sensor, window)
        span = round(SPAN_S * window.device_rate_hz)
        bearings = finder.bearings(np.concatenate(window.recent)[-span:])
        if len(events) > 1:
            return tuple(replace(event, other_bearings_rad=bearings) for event in events), ""
        bearing = bearings[0] if bearings else UNKNOWN
        alone = replace(events[0], bearing_rad=bearing, other_bearings_rad=bearings[1:])
        return (alone,), ""

    def _finder_for(
        self, microphones_m: NDArray[np.float64], T: NDArray[np.float64], window: AudioWindow
    ) -> DirectionFinder:
        positions = microphones_m @ T[:3, :3].T
        key = (window.device_rate_hz, positions.tobytes())
        if self._finder is None or self._steered_for != key:
            self._finder = DirectionFinder(positions, window.device_rate_hz)
            self._steered_for = key
        return self._finder
