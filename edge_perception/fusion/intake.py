"""What arrives: features, their sources' states, and the clocks. The first step of a frame here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from edge_perception.core.bounds import clipped, saturated
from edge_perception.core.conditions import Conditions, joined
from edge_perception.core.types import Feature, Instant, SoundEvent, SourceState, SourceStatus
from edge_perception.fusion.alignment import count_late
from edge_perception.fusion.clock_watch import ClockWatch
from edge_perception.fusion.config import FusionConfig, SourceConfig
from edge_perception.fusion.publishers import Route
from edge_perception.fusion.state import Arrival, SourceTrack

MAX_UNTOLD_EVENTS = 64
_SHOWN = 80  # characters of a foreign name


@dataclass(frozen=True, kw_only=True)
class IntakeCounters:
    """What happened to features since the start."""

    superseded: Mapping[str, int]  # features replaced by a newer one of their source, unused
    unknown: int  # features of sources that are not configured
    last_unknown: str
    last_unknown_ns: int  # when, steady clock
    clock_jumps: int


class Intake:
    """The sources: who is there, in which state, and the newest that is known of each."""

    def __init__(self, now: Instant) -> None:
        self.clock = ClockWatch(now)
        self.tracks: dict[str, SourceTrack] = {}
        self.fresh: set[str] = set()  # sources that set no pace, with something new
        self.untold: deque[SoundEvent] = deque(maxlen=MAX_UNTOLD_EVENTS)
        self._unknown, self._last_unknown, self._last_unknown_ns = 0, "", 0
        self._recovery_frames = 1

    def configure(self, config: FusionConfig) -> None:
        """Take a new configuration; what is known of sources that stay is kept."""
        self._recovery_frames = config.cycle.recovery_frames
        self.tracks = {source.source: self._track(source) for source in config.sources}
        self.fresh &= {name for name, track in self.tracks.items() if not track.paces}

    def _track(self, source: SourceConfig) -> SourceTrack:
        track = self.tracks.get(source.source)
        if track is None or track.config.modality != source.modality:
            track = SourceTrack(source, self.clock.last)
        track.configure(source)
        return track

    def observe(self, now: Instant) -> bool:
        """Take in a moment; True when the node clock jumped, and stamps of before mean nothing."""
        if not self.clock.observe(now):
            return False
        for track in self.tracks.values():
            track.on_clock_jump()
        return True

    def offer(self, feature: Feature, now: Instant, route: Route | None) -> Arrival | None:
        """Take in a feature; returns it when it may become part of a view."""
        track = self.tracks.get(feature.source if route is None else route.source)
        if track is None:
            self._unknown = saturated(self._unknown + 1)
            self._last_unknown = clipped(feature.source, _SHOWN)
            self._last_unknown_ns = now.steady_ns
            return None
        arrival = track.offer(feature, now, self.clock, self._recovery_frames, route)
        if arrival is None:
            return None
        if now.node_ns - arrival.evidence_ns > track.max_age_ns:
            count_late(track, arrival)
            return None
        for event in feature.sound_events:
            self.untold.append(event if event.source else replace(event, source=feature.source))
        if not track.paces:
            self.fresh.add(feature.source)
        return arrival

    def refuse(self, source: str, reason: str, now: Instant) -> None:
        """Note something that came in for a source and is no feature."""
        if source in self.tracks:
            self.tracks[source].refuse(reason, now)

    def on_view(self) -> None:
        """Note a view: all that is new up to now is told."""
        self.untold.clear()
        self.fresh.clear()

    # -- states --

    def raw_states(self, now: Instant) -> dict[str, SourceState]:
        """Return the state of each source at this moment, without hysteresis."""
        return {name: track.raw_state(now) for name, track in self.tracks.items()}

    def pacing(self, raws: Mapping[str, SourceState]) -> list[str]:
        """Return the sources that set the pace and are in time."""
        return [
            name for name, raw in raws.items() if raw is SourceState.OK and self.tracks[name].paces
        ]

    def reused(self, now: Instant, raws: Mapping[str, SourceState]) -> dict[str, Arrival]:
        """Return the newest features of the sources that set no pace, while they may be used."""
        alone = not self.pacing(raws)
        reused = {}
        for name, track in self.tracks.items():
            newest = track.newest
            if track.paces or newest is None or raws[name] is not SourceState.OK:
                continue
            young = now.steady_ns - newest.arrived_ns <= track.reuse_ns
            if alone or young or name in self.fresh:
                reused[name] = newest
        return reused

    def statuses(
        self,
        now: Instant,
        raws: Mapping[str, SourceState],
        used: Mapping[str, Arrival],
        doubts: Mapping[str, Iterable[str]],
    ) -> tuple[SourceStatus, ...]:
        """Return what a view says of its sources; `doubts` by source are added as warnings."""
        note = self.clock.note()
        return tuple(
            track.status(
                now, raws[name], note, self._recovery_frames, name in used, doubts.get(name, ())
            )
            for name, track in self.tracks.items()
        )

    def conditions(self, raws: Mapping[str, SourceState]) -> Conditions:
        """Return the conditions as the sources that are in time see them together."""
        newest = [t.newest for name, t in self.tracks.items() if raws[name] is SourceState.OK]
        return joined(item.feature.conditions for item in newest if item is not None)

    def last_arrivals_ns(self) -> dict[str, int]:
        """Return when each source was last heard, steady clock; never heard: left out."""
        return {
            name: track.last_arrival_ns
            for name, track in self.tracks.items()
            if track.last_arrival_ns is not None
        }

    @property
    def counters(self) -> IntakeCounters:
        """What happened since the start."""
        return IntakeCounters(
            superseded={name: track.superseded for name, track in self.tracks.items()},
            unknown=self._unknown,
            last_unknown=self._last_unknown,
            last_unknown_ns=self._last_unknown_ns,
            clock_jumps=self.clock.jumps,
        )
