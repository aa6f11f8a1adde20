"""A prepared model on trial beside the one that serves: which frames it runs on, how it does."""

from __future__ import annotations

import zlib

from edge_perception.encoders.serving import Sample
from edge_perception.models.manifest import Manifest
from edge_perception.models.parity import box_share, class_share, compare_outputs, image_box_share
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

    def __init__(self, manifest: Manifest, *, same_space: bool, stateful: bool) -> None:
        self._gates, self._objectives = manifest.gates, manifest.objectives
        self._name = f"{manifest.name} {manifest.version}"
        self._same_space = same_space
        self.stateful = stateful
        self.mode, self.share = OFF, 0.0
        self.samples = self.errors = 0
        self.failure = self.last_error = ""
        self._times = PairedTimes()

    def set_mode(self, mode: str, share: float) -> None:
        """Enter a stage; a candidate that failed stays off."""
        self.mode, self.share = (OFF, 0.0) if self.failure else (mode, share)

    def serves(self, stamp_ns: int) -> bool:
        """Whether the candidate serves the frame of this stamp, instead of the current model."""
        return self.mode == CANARY and not self.stateful and in_share(stamp_ns, self.share)

    def shadows(self, stamp_ns: int) -> bool:
        """Whether the candidate runs after the current model on the frame of this stamp."""
        mode = self.mode == SHADOW or (self.mode == CANARY and self.stateful)
        return mode and in_share(stamp_ns, 1.0 if self.stateful else self.share)

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

    def compared(self, candidate: Sample, current: Sample) -> None:
        """Note a frame that both ran on."""
        self.samples += 1
        self._times.add(candidate.inference_s, current.inference_s)
        self._check_deadline(candidate)
        difference = self._difference(candidate, current)
        if difference:
            self.errors += 1
            self.last_error = difference

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
        )

    def _check_deadline(self, sample: Sample) -> None:
        limit_ms = self._objectives.deadline_ms
        if limit_ms and sample.inference_s * 1e3 > limit_ms:
            self.failure = (
                f"{self._name}: inference {sample.inference_s * 1e3:.1f} ms > deadline "
                f"{limit_ms:g} ms"
            )
            self.mode = OFF

    def _difference(self, candidate: Sample, current: Sample) -> str:
        gates = self._gates
        # Features of another space differ by right; what they are for must still agree.
        if self._same_space:
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
