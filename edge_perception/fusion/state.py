"""Health of one source, from what arrived and when; hysteresis in time, not in frames.

Two ages: ``silence`` is the steady clock since the last arrival and decides LATE, STALE and
MISSING, so that a paused or jumping node clock fakes nothing. ``age`` is the node clock minus the
stamp of the newest valid feature and decides whether its evidence may still be used; of a reused
one the stamp of the frame that a model ran on.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_perception.core.bounds import clipped, saturated
from edge_perception.core.rate import RateMeter, window_for
from edge_perception.core.types import (
    UNKNOWN,
    UNPLACED,
    Feature,
    FrameLatency,
    Instant,
    SourceState,
    SourceStatus,
)
from edge_perception.fusion.clock_watch import ClockWatch
from edge_perception.fusion.config import NS, SourceConfig
from edge_perception.fusion.offsets import ClockOffset
from edge_perception.fusion.plausible import implausible
from edge_perception.fusion.publishers import PublisherWatch, Route
from edge_perception.fusion.time_scales import scale_told

OTHER_CLOCK_S = 10.0  # no delay is so long; time_offset_s makes up for less
# Nothing arrives before it was taken. A /clock of 10 Hz lets stamps be so far ahead, more does not.
AHEAD_S = 0.1
TOO_OLD = "age"  # begins the reason of evidence that came in time and says that it is old
_OTHER_CLOCK = ": its stamps are of another clock"
_SINCE_1970_NS = 10**18  # of the year 2001: smaller ones count from a start
_MORE_NS = NS // 1000  # a limit is passed by so much that its text shows it
NO_POSE = f"{UNPLACED}: T_base_sensor is only the default, its positions are not to be trusted"
_LIMIT_OF = {SourceState.LATE: "late_ns", SourceState.STALE: "stale_ns"}


class Arrival:
    """One accepted feature with its stamp after the source's time offset."""

    __slots__ = ("arrived_ns", "counted_late", "evidence_ns", "feature", "stamp_ns")

    def __init__(self, feature: Feature, stamp_ns: int, arrived_ns: int) -> None:
        self.feature = feature
        self.stamp_ns = stamp_ns  # says which frames belong together
        # Says how old it is and from where it is moved along: of the frame that a model ran on.
        self.evidence_ns = stamp_ns + feature.evidence_ns - feature.stamp_ns
        self.arrived_ns = arrived_ns  # steady clock
        self.counted_late = False


class SourceTrack:
    """What is known of one source since the start."""

    def __init__(self, config: SourceConfig, start: Instant) -> None:
        self.started_ns = start.steady_ns
        self.last_arrival_ns: int | None = None  # steady clock, refused ones too
        self.newest: Arrival | None = None  # newest accepted feature
        self.received = self.refused = self.late = self.superseded = 0
        self._encoder_dropped = self._encoder_refused = self._encoder_skipped = 0
        self._given_up = ""
        self._latency = FrameLatency()
        self._last_stamp_ns = 0  # what the next stamp must exceed
        self._invalid_reason = ""
        self._recovers_from = ""  # the newest refusal, until it is made good
        self._stamp_refused = False
        self._held: SourceState | None = SourceState.LATE  # reported until recovered
        self._good = 0
        self._meter = RateMeter()
        self._clock_offset = ClockOffset()
        self._ahead_s = 0.0  # of the newest good feature: its stamp was after its arrival
        self._publishers = PublisherWatch()
        self.configure(config)

    def configure(self, config: SourceConfig) -> None:
        """Take new limits; what is known stays."""
        self.config = config
        self.paces = config.reuse_s == 0.0
        self.late_ns, self.stale_ns = config.late_ns, config.stale_ns
        self.missing_ns, self.max_age_ns = config.missing_ns, config.max_age_ns
        self.period_ns, self.reuse_ns = config.period_ns, round(config.reuse_s * NS)
        self._offset_ns = round(config.time_offset_s * NS)
        self._max_future_ns = round(config.max_future_s * NS)
        self._meter.set_window(window_for(config.rate_hz))

    def offer(
        self,
        feature: Feature,
        now: Instant,
        clock: ClockWatch,
        recovery_frames: int,
        route: Route | None = None,
    ) -> Arrival | None:
        """Take in a feature; returns it when origin, stamp and content can be trusted."""
        was = self.raw_state(now)
        stranger = self._stranger(feature, now, route)
        if stranger:  # nothing of it counts, neither its stamps nor its counters
            self.refuse(stranger, now)
            return None
        self._encoder_dropped, self._encoder_refused = feature.dropped, feature.refused
        self._encoder_skipped, self._given_up = feature.skipped, feature.given_up
        if feature.stamp_ns > 0:
            self._clock_offset.add(feature.stamp_ns, now)
        stamp_ns = feature.stamp_ns + self._offset_ns
        reason = self._refusal(feature, stamp_ns, now, clock)
        if reason:
            self.refuse(reason, now)
            self.refused -= not feature.valid  # the encoder counts those itself
            return None
        self._heard(now)
        if reason is None:  # on its way when the clock jumped: neither good nor bad
            self.late += 1
            return None
        self._invalid_reason, self._stamp_refused = "", False
        self._last_stamp_ns = stamp_ns
        self._latency, self._ahead_s = feature.latency, (stamp_ns - now.node_ns) / NS
        self._recover(was, recovery_frames, now)
        self.newest = Arrival(feature, stamp_ns, now.steady_ns)
        return self.newest

    def refuse(self, reason: str, now: Instant) -> None:
        """Note something that arrived for this source and is no feature that can be used."""
        self._heard(now)
        self.refused += 1
        self._invalid_reason, self._good = clipped(reason), 0
        self._held, self._recovers_from = SourceState.INVALID, self._invalid_reason

    def _heard(self, now: Instant) -> None:
        self.received += 1
        self.last_arrival_ns = now.steady_ns
        self._meter.add(now.steady_ns)

    def _stranger(self, feature: Feature, now: Instant, route: Route | None) -> str:
        """Say why a feature is none of this source; empty: it is one."""
        where = f"{route.name}: " if route is not None and route.name else ""
        for what, expected, got in (
            ("source", self.config.source, feature.source),
            ("modality", self.config.modality, feature.modality),
        ):
            if got != expected:
                return f"{where}expected {what} '{expected}', got '{clipped(got, 80)}'"
        publisher = None if route is None else route.publisher
        second = self._publishers.refusal(publisher, now.steady_ns, self.stale_ns)
        return f"{where}{second}" if second else ""

    def raw_state(self, now: Instant) -> SourceState:
        """Return the state of this moment, without hysteresis."""
        if self.last_arrival_ns is None:
            return SourceState.MISSING
        silence_ns = now.steady_ns - self.last_arrival_ns
        if silence_ns > self.late_ns:
            if silence_ns > self.missing_ns:
                return SourceState.MISSING
            if silence_ns > self.stale_ns:
                return SourceState.STALE
            return SourceState.INVALID if self._invalid_reason else SourceState.LATE
        if self._invalid_reason:
            return SourceState.INVALID
        if self.newest is not None and now.node_ns - self.newest.evidence_ns > self.max_age_ns:
            return SourceState.STALE
        return SourceState.OK

    @property
    def late_at_ns(self) -> int:
        """When to look whether silence made a live source LATE, steady clock."""
        return (self.last_arrival_ns or 0) + self.late_ns + _MORE_NS

    def on_clock_jump(self) -> None:
        """Forget stamps of before the jump; silence and counters stay."""
        self._last_stamp_ns = 0
        self.newest = None
        self._clock_offset.clear()
        if self._stamp_refused:  # the jump explains what was refused
            self._invalid_reason, self._stamp_refused, self._held = "", False, None
            self._recovers_from = ""

    def status(
        self,
        now: Instant,
        raw: SourceState,
        clock_note: str,
        recovery_frames: int,
        contributed: bool,
        doubts: Iterable[str] = (),
    ) -> SourceStatus:
        """Return what a message says of this source; `doubts` are of others than its encoder."""
        state = self.reported(raw)
        reason = ""
        if state is not SourceState.OK:
            reason = self._reason(now, raw, recovery_frames)
            if clock_note:
                reason = f"{reason}; {clock_note}"
        newest, arrival_ns = self.newest, self.last_arrival_ns
        return SourceStatus(
            source=self.config.source,
            modality=self.config.modality,
            state=state,
            reason=reason,
            contributed=contributed,
            stamp_ns=newest.feature.stamp_ns if newest else 0,
            age_s=(now.node_ns - newest.stamp_ns) / NS if newest else UNKNOWN,
            silence_s=(now.steady_ns - arrival_ns) / NS if arrival_ns is not None else UNKNOWN,
            rate_hz=self._meter.rate_hz(now.steady_ns),
            received=saturated(self.received),
            dropped=saturated(self._encoder_dropped),
            refused=saturated(self._encoder_refused + self.refused),
            late=saturated(self.late),
            warning=self._warning(doubts) if state is SourceState.OK else "",
            clock_offset_s=self._clock_offset.offset_s,
            latency=self._latency,
            inferred_stamp_ns=newest.feature.inferred_stamp_ns if newest else 0,
            skipped=saturated(self._encoder_skipped),
            given_up=self._given_up,
        )

    def _warning(self, doubts: Iterable[str]) -> str:
        if self.newest is None:  # the clock jumped since: its features of before mean nothing
            return ""
        feature = self.newest.feature
        told = UNPLACED in feature.warning  # its encoder knows more of the reason
        unplaced = self.config.locates and not feature.geometry.is_placed and not told
        no_pose = f"{self.config.source}: {NO_POSE}" if unplaced else ""
        return "; ".join(filter(None, (feature.warning, no_pose, self._ahead(), *doubts)))

    def _ahead(self) -> str:
        """Say that stamps are of a clock that runs ahead, as far as fusion still takes them."""
        if self._ahead_s <= AHEAD_S:
            return ""
        offset_s = max(self.config.time_offset_s - self._ahead_s, -10.0)
        return (
            f"{self.config.source}: stamps are {self._ahead_s:.2f} s ahead of the node clock on "
            "arrival: by another clock, and objects are placed that much too late; "
            f"{self.config.source}.time_offset_s: {offset_s:.2f} makes up for it"
        )

    def reported(self, raw: SourceState) -> SourceState:
        """Return the state with hysteresis: recovery takes a few good frames."""
        if raw is SourceState.OK and self._held is not None:
            return self._held
        return raw

    def _recover(self, was: SourceState, recovery_frames: int, now: Instant) -> None:
        if was is SourceState.INVALID:
            self._held = SourceState.INVALID
        elif was is not SourceState.OK:
            self._held, self._good = SourceState.LATE, 0
        self._good += 1
        # One arrival is no rate yet, and a source without a rate is not known to be in time.
        if self._good >= recovery_frames and self._meter.rate_hz(now.steady_ns) > 0.0:
            self._held, self._recovers_from = None, ""

    def _refusal(
        self, feature: Feature, stamp_ns: int, now: Instant, clock: ClockWatch
    ) -> str | None:
        """Say why a feature is refused; empty: it is good; None: ignore it silently."""
        if not feature.valid:
            return feature.invalid_reason
        if feature.stamp_ns <= 0:
            seconds = feature.stamp_ns / NS
            return f"negative stamp: {seconds:g} s" if seconds else "zero stamp"
        ahead_ns = stamp_ns - now.node_ns
        if ahead_ns > self._max_future_ns:
            if clock.is_from_before_jump(stamp_ns, self._max_future_ns):
                return None
            self._stamp_refused = True
            limit_s = self._max_future_ns / NS
            return (
                f"stamp {ahead_ns / NS:.2f} s ahead of the node clock > {limit_s:.2f} s"
                f"{other_clock(stamp_ns, now.node_ns)}"
            )
        if stamp_ns <= self._last_stamp_ns:
            self._stamp_refused = True
            back_s = (self._last_stamp_ns - stamp_ns) / NS
            self._last_stamp_ns = stamp_ns  # a clock set back: the next one may go on from here
            return f"stamp went back {back_s:.3f} s" if back_s else "stamp did not advance"
        return implausible(feature)

    def _reason(self, now: Instant, raw: SourceState, recovery_frames: int) -> str:
        if raw is SourceState.OK:
            after = f" after: {self._recovers_from}" if self._recovers_from else ""
            return f"recovering, {self._good} of {recovery_frames} good frames{after}"
        if self.last_arrival_ns is None:
            return f"nothing received for {(now.steady_ns - self.started_ns) / NS:.2f} s"
        if raw is SourceState.INVALID:
            return self._invalid_reason
        silence_ns = now.steady_ns - self.last_arrival_ns
        if silence_ns > self.late_ns:
            limit_ns = getattr(self, _LIMIT_OF.get(raw, "missing_ns"))
            return f"silence {silence_ns / NS:.3f} s > {limit_ns / NS:.3f} s"
        assert self.newest is not None
        age_s = (now.node_ns - self.newest.evidence_ns) / NS
        of = " of the frame reused" if self.newest.feature.inferred_stamp_ns else ""
        why = other_clock(self.newest.evidence_ns, now.node_ns)
        return f"{TOO_OLD}{of} {age_s:.2f} s > {self.max_age_ns / NS:.2f} s{why}"


def other_clock(stamp_ns: int, node_ns: int) -> str:
    """Return what a stamp means that no delay explains while messages arrive; empty: nothing.

    Sensors count from their own start, or in TAI, GPS or local time; simulations count from theirs,
    and what follows them is not always told to.
    """
    if abs(stamp_ns - node_ns) < OTHER_CLOCK_S * NS or not node_ns:
        return ""  # of a node clock that never began the clock's own note tells
    if stamp_ns < _SINCE_1970_NS <= node_ns:
        return (
            f"{_OTHER_CLOCK}, they count from a start: a sensor's (let the driver stamp in system "
            "time) or a simulation's (use_sim_time: true here)"
        )
    if node_ns < _SINCE_1970_NS <= stamp_ns:
        return (
            f"{_OTHER_CLOCK}, of system time, the node clock is a simulation's: use_sim_time: true "
            "in its driver too"
        )
    scale = scale_told((stamp_ns - node_ns) / NS) if node_ns >= _SINCE_1970_NS else ""
    return (
        f"{_OTHER_CLOCK}{f' ({scale})' if scale else ''}; let the driver stamp in the time of the "
        "nodes (system time, with use_sim_time that of /clock)"
    )
