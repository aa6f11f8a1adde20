"""A prepared model on trial beside the one that serves: which frames it runs on, how it does."""

from __future__ import annotations

import zlib

from edge_perception.encoders.serving import Sample
from edge_perception.models.manifest import Manifest
from edge_perception.models.parity import box_share, class_share, compare_outputs, image_box_share
from edge_perception.releases.behaviour import BehaviourComparison, Decisions
from edge_perception.releases.trial import Evidence

OFF, SHADOW, CANARY = "off", "shadow", "canary"
MODES = (OFF, SHADOW, CANARY)
SLOT_NS = 500_000_000  # stamps of one slot share a fate: all sources of a set change together


class PairedTimes:
    """Mean and variance of time differences, without keeping them (Welford, 1962)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean_s = self._squares = self.current_mean_s = 0.0

    def add(self, candidate_s: float, current_s: float) -> None:
        """Take the times of one frame."""
        self.count += 1
        difference_s = candidate_s - current_s
        delta_s = difference_s - self.mean_s
        self.mean_s += delta_s / self.count
        self._squares += delta_s * (difference_s - self.mean_s)
        self.current_mean_s += (current_s - self.current_mean_s) / self.count

    @property
    def variance_s2(self) -> float:
        """Sample variance."""
        return self._squares / (self.count - 1) if self.count > 1 else 0.0


class CandidateTrial:
    """Counts of one candidate. The inference thread adds, a service reads."""

    def __init__(
        self, manifest: Manifest, *, same_space: bool, stateful: bool, hears: bool = False
    ) -> None:
        """Count nothing yet.

        Args:
            manifest: of the candidate.
            same_space: its features mean what those of the current model mean.
            stateful: it must run on every frame, also where the current model serves.
            hears: its decisions are sound events.
        """
        self._gates, self._deadline_ms = manifest.gates, manifest.objectives.deadline_ms or 0.0
        self._name = f"{manifest.name} {manifest.version}"
        self.same_space, self.stateful, self._hears = same_space, stateful, hears
        self.mode, self.share = OFF, 0.0
        self.samples = self.errors = self.comparable = 0
        self.failure = self.last_error = ""
        self._times = PairedTimes()
        self._behaviour = BehaviourComparison()

    def set_mode(self, mode: str, share: float, *, deadline_ms: float = 0.0) -> None:
        """Enter a stage; a candidate that failed stays off.

        Args:
            mode: off, shadow or canary.
            share: of the frames.
            deadline_ms: longest inference that the operator allows; 0: any.
        """
        self.mode, self.share = (OFF, 0.0) if self.failure else (mode, share)
        self._deadline_ms = min(filter(None, (self._deadline_ms, deadline_ms)), default=0.0)

    def serves(self, stamp_ns: int) -> bool:
        """Whether the candidate serves the frame of this stamp, instead of the current model."""
        return self.mode == CANARY and in_share(stamp_ns, self.share)

    def shadows(self, stamp_ns: int) -> bool:
        """Whether the candidate runs after the current model, which serves this stamp."""
        if self.mode == CANARY:
            return self.stateful
        return self.mode == SHADOW and in_share(stamp_ns, 1.0 if self.stateful else self.share)

    def fail(self, reason: str) -> None:
        """A hard guard: the candidate gets no more frames."""
        self.samples += 1
        self.errors += 1
        self.failure = f"{self._name}: {reason}"
        self.mode, self.share = OFF, 0.0

    def served(self, sample: Sample) -> None:
        """Note a frame that the candidate served."""
        self.samples += 1
        self._check_deadline(sample)

    def compared(self, candidate: Sample, current: Sample, *, served: bool = False) -> None:
        """Note a frame that both ran on.

        Args:
            candidate: what it made of it.
            current: what the current model made of it.
            served: the candidate served it, and it is counted.
        """
        if not served:
            self.samples += 1
            self._check_deadline(candidate)
        self._times.add(candidate.inference_s, current.inference_s)
        self.decided(self._decisions(candidate), self._decisions(current))
        difference = self._difference(candidate, current)
        if difference:
            self.errors += 1
            self.last_error = difference

    def decided(self, candidate: Decisions, current: Decisions) -> None:
        """Note what both decided of a frame."""
        self._behaviour.add(candidate, current)

    def _decisions(self, sample: Sample) -> Decisions:
        output = sample.output
        return Decisions(
            objects=output.objects,
            image_objects=output.image_objects,
            sound_events=output.sound_events,
            hears=self._hears,
        )

    def evidence(self) -> Evidence:
        """Return the totals."""
        return Evidence(
            samples=self.samples,
            errors=self.errors,
            failure=self.failure,
            paired=self._times.count,
            difference_mean_s=self._times.mean_s,
            difference_variance_s2=self._times.variance_s2,
            current_mean_s=self._times.current_mean_s,
            compared=self._behaviour.frames,
            comparable=self.comparable,
            behaviour=self._behaviour.estimates(),
        )

    def _check_deadline(self, sample: Sample) -> None:
        limit_ms = self._deadline_ms
        if limit_ms and sample.inference_s * 1e3 > limit_ms:
            self.failure = (
                f"{self._name}: inference {sample.inference_s * 1e3:.1f} ms > deadline "
                f"{limit_ms:g} ms"
            )
            self.mode = OFF

    def _difference(self, candidate: Sample, current: Sample) -> str:
        gates = self._gates
        # Features of another space differ by right; what they are for must still agree.
        if self.same_space:
            problem = compare_outputs(candidate.outputs, current.outputs, gates)
            if problem:
                return problem
        ours, theirs = candidate.output, current.output
        shares = {
            "boxes": (box_share(ours.objects, theirs.objects), gates.box_match),
            "image boxes": (
                image_box_share(ours.image_objects, theirs.image_objects),
                gates.box_match,
            ),
            "sound classes": (
                class_share(ours.sound_events, theirs.sound_events),
                gates.class_agreement,
            ),
        }
        return "; ".join(
            f"{what}: {share:.2f} agree < {least:g}"
            for what, (share, least) in shares.items()
            if share < least
        )


def in_share(stamp_ns: int, share: float) -> bool:
    """Whether a stamp's slot falls into a share of the frames; the same in every process."""
    slot = (stamp_ns // SLOT_NS).to_bytes(8, "little", signed=True)
    return zlib.crc32(slot) < share * 2**32
