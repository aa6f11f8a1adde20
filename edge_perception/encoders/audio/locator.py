"""Gives sound events their bearing, where the microphones allow it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.sound_names import is_held_tone, is_siren, is_voice
from edge_perception.core.types import UNKNOWN, Geometry, SoundEvent
from edge_perception.encoders.audio.direction import (
    SPAN_S,
    DirectionFinder,
    LocatedSound,
    apart,
)
from edge_perception.encoders.audio.stream import AudioWindow

_NS = 1_000_000_000
_REMEMBERED_S = 1.0  # of what a direction is like: a two-tone siren stays on one tone for as long
_SAME_RAD = math.radians(15.0)
_LEAST_GAP = 0.15  # between the most and the least held direction: less tells nothing


class SoundLocator:
    """Finds the direction of windows with an event; a quiet window costs nothing."""

    def __init__(self) -> None:
        self._finder: DirectionFinder | None = None
        self._steered_for: tuple[int, bytes] | None = None
        self._segment: int | None = None
        self._heard: deque[tuple[int, LocatedSound]] = deque()  # at the end of which window

    def locate(
        self, events: tuple[SoundEvent, ...], window: AudioWindow, geometry: Geometry
    ) -> tuple[tuple[SoundEvent, ...], str]:
        """Return the events with bearings, and a warning where channels and array do not fit.

        The bearing of an event alone is that of the loudest sound. With several at once any
        direction may be that of each: a siren and horns are told apart by who holds the pitch,
        others get no bearing. All other directions are told beside it.
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
        sounds = finder.sounds(np.concatenate(window.recent)[-span:])
        self._remember(sounds, window)
        if len(events) == 1:
            return (_with_bearing(events[0], sounds[:1], sounds),), ""
        wailing, holding = self._told_apart(events, sounds)
        own = {event.class_name: holding for event in events if is_held_tone(event.class_name)}
        own |= {event.class_name: wailing for event in events if is_siren(event.class_name)}
        return tuple(_with_bearing(e, own.get(e.class_name, ()), sounds) for e in events), ""

    def _remember(self, sounds: Sequence[LocatedSound], window: AudioWindow) -> None:
        if window.segment != self._segment:
            self._segment = window.segment
            self._heard.clear()
        self._heard.extend((window.window_end_ns, s) for s in sounds if not math.isnan(s.held))
        while self._heard and window.window_end_ns - self._heard[0][0] > _REMEMBERED_S * _NS:
            self._heard.popleft()

    def _told_apart(
        self, events: Sequence[SoundEvent], sounds: Sequence[LocatedSound]
    ) -> tuple[list[LocatedSound], list[LocatedSound]]:
        """Return the sounds whose pitch moves and those that hold it; none: that tells nothing."""
        loud = [event.class_name for event in events if not is_voice(event.class_name)]
        sirens = [name for name in loud if is_siren(name)]
        if not sirens or len(sirens) == len(loud):
            return [], []
        if not all(is_siren(name) or is_held_tone(name) for name in loud):
            return [], []
        held = [(self._held(sound), sound) for sound in sounds]
        held = [(value, sound) for value, sound in held if not math.isnan(value)]
        values = [value for value, _ in held]
        if len(values) < 2 or max(values) - min(values) < _LEAST_GAP:
            return [], []
        middle = 0.5 * (max(values) + min(values))
        return (
            [sound for value, sound in held if value < middle],
            [sound for value, sound in held if value >= middle],
        )

    def _held(self, sound: LocatedSound) -> float:
        """Return how well the pitch was held in that direction of late."""
        values = [
            before.held for _, before in self._heard
            if apart(before.azimuth_rad, sound.azimuth_rad) < _SAME_RAD
        ]  # fmt: skip
        return sum(values) / len(values) if values else math.nan

    def _finder_for(
        self, microphones_m: NDArray[np.float64], T: NDArray[np.float64], window: AudioWindow
    ) -> DirectionFinder:
        positions = microphones_m @ T[:3, :3].T
        key = (window.device_rate_hz, positions.tobytes())
        if self._finder is None or self._steered_for != key:
            self._finder = DirectionFinder(positions, window.device_rate_hz)
            self._steered_for = key
        return self._finder


def _with_bearing(
    event: SoundEvent, own: Sequence[LocatedSound], sounds: Sequence[LocatedSound]
) -> SoundEvent:
    """Return an event that comes from one of `own`: from that one, if there is no other."""
    mine = own[0] if len(own) == 1 else None
    others = tuple(sound.azimuth_rad for sound in sounds if sound is not mine)
    bearing = UNKNOWN if mine is None else mine.azimuth_rad
    return replace(event, bearing_rad=bearing, other_bearings_rad=others)
