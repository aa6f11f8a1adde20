"""Which frames leave the robot, and what becomes of the answers.

`offer` runs in the inference thread after the frame's feature has left, and does next to nothing;
the rest runs in a thread of its own. Every doubtful frame is counted once: answered, answered by an
earlier answer, overwritten by a newer one, or dropped for a reason.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from edge_perception.core.clock import Clock
from edge_perception.core.doubt import doubt_bits
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.health import Health, Level
from edge_perception.core.mailbox import Mailbox
from edge_perception.core.types import UNKNOWN, Feature, Geometry, LateEvidence
from edge_perception.encoders import EncoderOutput, EncoderSpec
from edge_perception.fleet.cloud.cache import AnswerCache
from edge_perception.fleet.cloud.crops import CropCutter, Crops
from edge_perception.fleet.cloud.options import CROPS, CloudOptions
from edge_perception.fleet.cloud.privacy import PrivacyFilter
from edge_perception.fleet.cloud.regions import UnplacedError
from edge_perception.fleet.cloud.tier import Tier, TierError
from edge_perception.models.manifest import Bundle


@dataclass(frozen=True, kw_only=True)
class Doubtful:
    """A frame that a server is asked about."""

    frame: Any  # a copy
    feature: Feature  # what the robot saw, without its tensors
    geometry: Geometry
    bundle: Bundle  # that serves on the robot
    bits: float


@dataclass(frozen=True, kw_only=True)
class _Known:
    """An answer that may serve again."""

    evidence: LateEvidence
    crops: Crops | None  # that the server saw; None: all of the frame

    def serves(self, asked: Doubtful, crops: Crops | None) -> bool:
        """Whether it says what is asked of a frame that hardly differs."""
        before = self.evidence.stamp_ns <= asked.feature.stamp_ns
        if self.crops is None:
            return before
        return before and crops is not None and self.crops.cover(crops)


class CloudRoute:
    """Doubtful frames of one source to servers.

    Args:
        options: which, and what is hidden of them; may be replaced while it runs.
        spec: the modality.
        tiers: servers in the order to ask.
        privacy: hides what must not leave.
        cutter: cuts out what is in doubt, where crops are sent.
        clock: the clocks.
        sink: takes what servers say, in the thread of the route.
        on_error: takes what nothing here should have raised.
    """

    def __init__(
        self,
        options: CloudOptions,
        spec: EncoderSpec,
        tiers: Sequence[Tier],
        privacy: PrivacyFilter,
        cutter: CropCutter,
        *,
        clock: Clock,
        sink: Callable[[LateEvidence], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.options = options
        self._spec, self._tiers = spec, tuple(tiers)
        self._privacy, self._cutter = privacy, cutter
        self._clock, self._sink, self._on_error = clock, sink, on_error
        self._mailbox: Mailbox[Doubtful] = Mailbox()
        self._cache: AnswerCache[_Known] | None = None
        if spec.likeness is not None and options.cache_s > 0.0:
            self._cache = AnswerCache(
                spec.likeness,
                entries=options.cache_entries,
                keep_s=options.cache_s,
                most_bits=options.cache_bits,
            )
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="cloud", daemon=True)

    # -- the inference thread --

    def offer(self, frame: Any, feature: Feature, geometry: Geometry, bundle: Bundle) -> None:
        """Take a frame whose feature has left; what is not doubtful costs nothing."""
        if not feature.valid or feature.inferred_stamp_ns:
            return  # refused, or decided by an earlier frame
        bits = doubt_bits(feature)
        self._count("frames")
        if bits < self.options.doubt_bits:
            return
        self._count("doubtful")
        reasons = [tier.why_not() for tier in self._tiers]
        if feature.model.sha256 != bundle.sha256:
            # A cheaper variant, or one on trial: what it does not see cannot be hidden.
            self._count("dropped, another model served")
        elif all(reasons):
            self._count(f"dropped, {reasons[0]}")
        elif self._age_s(feature) > self.options.most_age_s:
            self._count("dropped, too old")
        else:
            self._mailbox.put(
                Doubtful(
                    frame=_copy(frame),
                    feature=replace(feature, tensors={}),
                    geometry=geometry,
                    bundle=bundle,
                    bits=bits,
                )
            )

    # -- its own thread --

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the question in progress, which has a deadline."""
        self._mailbox.close()
        if self._thread.is_alive():
            longest_ms = max((tier.options.deadline_ms for tier in self._tiers), default=0.0)
            self._thread.join(1.0 + 3 * longest_ms / 1e3)

    def _run(self) -> None:
        while not self._mailbox.closed:
            asked = self._mailbox.get()
            if asked is None:
                continue
            try:
                self._count(self.handle(asked))
            except Exception as error:  # one frame must not end the route
                self._count("dropped, error")
                self._on_error(error)
        for tier in self._tiers:
            tier.close()

    def handle(self, asked: Doubtful) -> str:
        """Ask about a frame; return what became of it, as it is counted."""
        if self._age_s(asked.feature) > self.options.most_age_s:
            return "dropped, too old"
        try:
            crops = self._crops(asked)
        except UnplacedError:
            return "dropped, nothing to cut out"
        key, sketch = self._key(asked), None
        if self._cache is not None:
            sketch = self._cache.sketch(asked.frame)
            known = self._cache.find(
                key, sketch, self._now_s(), serves=lambda known: known.serves(asked, crops)
            )
            if known is not None:
                self._sink(_again(known.evidence, asked))
                return "cached"
        try:
            self._privacy.check(asked.bundle.manifest)
            frame, hidden = self._privacy.apply(asked.frame, asked.feature, asked.geometry)
        except EdgePerceptionError:
            return "dropped, privacy"
        found, why = self._ask(asked, frame, hidden, crops)
        if found is None:
            return f"dropped, {why}"
        if self._cache is not None and sketch is not None:
            self._cache.put(key, sketch, _Known(evidence=found, crops=crops), self._now_s())
        self._sink(found)
        return "answered"

    def _crops(self, asked: Doubtful) -> Crops | None:
        """Return what of a frame is sent; None: all of it."""
        if self.options.send != CROPS:
            return None
        return self._cutter.find(
            asked.frame, asked.feature, asked.geometry, least_bits=self.options.doubt_bits
        )

    def _ask(
        self, asked: Doubtful, frame: Any, hidden: int, crops: Crops | None
    ) -> tuple[LateEvidence | None, str]:
        """Ask one server after the other, until one is sure; return the last one's answer.

        Args:
            asked: the frame as it was.
            frame: of it, what may leave.
            hidden: regions that are hidden in it.
            crops: which parts of it are sent; None: all.
        """
        if crops is not None:
            frame = self._cutter.cut(frame, crops, asked.geometry)
        best, why = None, ""
        for tier in self._tiers:
            reason = tier.why_not()
            if reason:
                why = why or reason
                continue
            began_s = self._now_s()
            try:
                output = tier.ask(frame, asked.geometry, asked.bundle)
            except TierError as error:
                why = error.kind
                continue
            if self._age_s(asked.feature) > self.options.most_age_s:
                why = "answer too late"
                break
            if crops is not None:
                output = self._cutter.within(output, crops, asked.frame, asked.geometry)
            best = replace(
                _evidence(asked, tier, output, self._now_s() - began_s),
                hidden=hidden,
                crops=0 if crops is None else len(crops.areas),
            )
            if best.answer_doubt_bits < self.options.doubt_bits:
                break
        return best, why

    # -- for people --

    def health(self) -> Health:
        """Return how it stands: a server that refuses, or none that answers, is a warning."""
        refusing = [tier.problem for tier in self._tiers if tier.why_not() == "refused"]
        open_ = [tier for tier in self._tiers if not tier.breaker.closed]
        said = refusing
        if len(open_) == len(self._tiers):
            said = [*refusing, *(f"{tier.name}: {tier.problem}" for tier in open_)]
        return Health(
            level=Level.WARN if said else Level.OK,
            message=f"cloud: {'; '.join(said)}" if said else "",
            values=self.values(),
        )

    def values(self) -> dict[str, str]:
        """Return counters and the state of each server."""
        counts = self.counts()
        drops = {name: n for name, n in sorted(counts.items()) if name.startswith("dropped, ")}
        told = {
            "cloud_frames": str(counts["frames"]),
            "cloud_doubtful": str(counts["doubtful"]),
            "cloud_answered": str(counts["answered"]),
            "cloud_dropped": "; ".join(f"{n[9:]} {c}" for n, c in drops.items()) or "none",
        }
        if self._cache is not None:
            asked, hits = self._cache.asked, self._cache.hits
            rate = f" ({hits / asked:.0%})" if asked else ""
            told["cloud_cache"] = f"{hits} of {asked} hits{rate}, {self._cache.size} answers"
        return told | {f"cloud_{tier.name}": tier.state() for tier in self._tiers}

    def counts(self) -> Counter[str]:
        """Return what became of frames since the start."""
        with self._lock:
            counts = Counter(self._counts)
        if self._mailbox.dropped:
            counts["dropped, overwritten"] = self._mailbox.dropped
        return counts

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _key(self, asked: Doubtful) -> tuple[str, ...]:
        """Return what an answer depends on beside the frame."""
        geometry = asked.geometry
        bundles = (tier.bundle_for(asked.bundle).sha256 for tier in self._tiers)
        place = geometry.T_base_sensor.tobytes().hex()
        lens = "" if geometry.intrinsics is None else geometry.intrinsics.tobytes().hex()
        return (asked.bundle.sha256, *bundles, place, lens)

    def _age_s(self, feature: Feature) -> float:
        return (self._clock.now().node_ns - feature.stamp_ns) / 1e9

    def _now_s(self) -> float:
        return self._clock.now().steady_ns / 1e9


def _again(evidence: LateEvidence, asked: Doubtful) -> LateEvidence:
    """Return an earlier answer for a frame that hardly differs."""
    return replace(
        evidence,
        asked_stamp_ns=asked.feature.stamp_ns,
        round_trip_s=UNKNOWN,
        doubt_bits=asked.bits,
    )


def _evidence(asked: Doubtful, tier: Tier, output: EncoderOutput, took_s: float) -> LateEvidence:
    feature = asked.feature
    origin = (f"{feature.source}@{tier.name}",)
    return LateEvidence(
        source=feature.source,
        modality=feature.modality,
        tier=tier.name,
        stamp_ns=feature.stamp_ns,
        asked_stamp_ns=feature.stamp_ns,
        round_trip_s=took_s,
        doubt_bits=asked.bits,
        answer_doubt_bits=doubt_bits(output),
        model=tier.bundle_for(asked.bundle).version_for(feature.source),
        objects=tuple(replace(item, sources=origin) for item in output.objects),
        image_objects=output.image_objects,
        sound_events=tuple(replace(event, source=origin[0]) for event in output.sound_events),
    )


def _copy(frame: Any) -> Any:
    """Return a frame with arrays of its own: the next one overwrites those of the intake."""
    if not is_dataclass(frame) or isinstance(frame, type):
        return frame
    arrays = {item.name: getattr(frame, item.name) for item in fields(frame)}
    copies = {name: v.copy() for name, v in arrays.items() if isinstance(v, np.ndarray)}
    return replace(frame, **copies)
