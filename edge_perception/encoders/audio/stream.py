"""Blocks of a sound card to windows of mono samples, never across a gap."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidFrameError, RestartedStreamError
from edge_perception.core.types import UNKNOWN, AudioBlock
from edge_perception.encoders.audio.direction import SPAN_S
from edge_perception.encoders.audio.levels import Levels
from edge_perception.encoders.audio.rate_watch import RateWatch
from edge_perception.encoders.audio.resample import Resampler, to_mono
from edge_perception.encoders.audio.sample_clock import SampleClock

# A block sent twice carries its old stamp; a reopened device starts its index anew at a new time.
_REPEAT_TOLERANCE_NS = 50_000_000


@dataclass(frozen=True, kw_only=True)
class AudioWindow:
    """The samples a model looks at once.

    `segment` and `first_sample` name the samples for good: equal numbers are equal samples, so work
    on overlapping windows can be kept, whatever windows were dropped between them.
    """

    stamp_ns: int  # header stamp of the newest block, untouched
    frame_id: str
    window_start_ns: int  # time of the first sample
    window_end_ns: int  # time just after the last sample
    samples: NDArray[np.float32]  # (N,), mono, model rate, full scale 1.0
    segment: int  # counts the uninterrupted stretches of the stream
    first_sample: int  # index of samples[0] in its segment, model rate
    silent_s: float = 0.0  # put in front of what was heard since the device started anew
    levels: Levels | None = None  # of the newest block, before it became mono
    # The newest samples with all channels, (N, C) each, as the device gave them: for directions.
    recent: tuple[NDArray[np.float32], ...] = ()
    device_rate_hz: int = 0
    notes: tuple[str, ...] = ()  # of the newest block: what was read otherwise than told
    rate_ratio: float = UNKNOWN  # samples that came, by their stamps, to those of device_rate_hz


@dataclass(kw_only=True)
class StreamCounts:
    """What happened to the stream since the start."""

    gaps: int = 0
    restarts: int = 0
    format_changes: int = 0
    repeated_samples: int = 0  # trimmed, device rate
    skipped_windows: int = 0  # a block longer than a hop completed several windows


class StreamAssembler:
    """Resamples and collects blocks and gives a window each hop. One thread uses it.

    An interruption discards what was collected and is raised once; the block that showed it starts
    the next segment. After a gap that takes one window's length. A device that started anew lost
    more than samples of a window already: silence is put in front, and windows go on at once.
    """

    def __init__(self, *, rate_hz: int, window_samples: int, hop_samples: int) -> None:
        self._rate_hz = rate_hz
        self._window = window_samples
        self._hop = hop_samples
        self._segment = 0
        self._resampler: Resampler | None = None
        self.clock = SampleClock(rate_hz)  # of the present segment
        self.counts = StreamCounts()
        self._young = False  # the block before was not what was expected either

    def reset(self) -> None:
        """Forget the samples; the next block starts a segment without being called a gap."""
        self._resampler = None

    def push(self, block: AudioBlock) -> AudioWindow | None:
        """Take the next block; return the newest window it completed.

        Raises:
            RestartedStreamError: the index went back, or rate or channel count changed.
            InvalidFrameError: samples are missing before this block.
        """
        interruption = self._interruption(block)
        if interruption is not None and self._young:
            interruption = InvalidFrameError(f"{interruption}, as the block before")
        anew = isinstance(interruption, RestartedStreamError)
        if interruption is not None or self._resampler is None:
            self._start(block, silence=max(0, self._window - self._hop) if anew else 0)
        window = self._append(block)
        self._young = interruption is not None
        if interruption is not None:
            raise interruption
        return window

    def _interruption(self, block: AudioBlock) -> InvalidFrameError | None:
        if self._resampler is None:
            return None
        rate_hz, channels = block.sample_rate_hz, block.samples.shape[1]
        if (rate_hz, channels) != (self._device_rate_hz, self._channels):
            self.counts.format_changes += 1
            return RestartedStreamError(
                f"expected {self._device_rate_hz} Hz with {self._channels} channels as "
                f"before, got {rate_hz} Hz with {channels}; the window starts anew"
            )
        ahead = block.first_sample_index - self._next_index
        if ahead > 0:
            self.counts.gaps += 1
            return InvalidFrameError(
                f"gap of {ahead} samples ({ahead / rate_hz:.3f} s): first_sample_index "
                f"expected {self._next_index}, got {block.first_sample_index}"
            )
        if ahead < 0 and not self._is_repeat(block, -ahead):
            self.counts.restarts += 1
            return RestartedStreamError(
                "the device restarted: first_sample_index expected "
                f"{self._next_index}, got {block.first_sample_index}"
            )
        return None

    def _is_repeat(self, block: AudioBlock, overlap: int) -> bool:
        span = self._window / self._rate_hz * self._device_rate_hz
        expected_ns = self._next_stamp_ns - _duration_ns(overlap, self._device_rate_hz)
        return overlap <= span and abs(block.stamp_ns - expected_ns) <= _REPEAT_TOLERANCE_NS

    def _start(self, block: AudioBlock, *, silence: int = 0) -> None:
        self._segment += 1
        self._device_rate_hz = block.sample_rate_hz
        self._channels = block.samples.shape[1]
        self._resampler = Resampler(
            input_rate_hz=block.sample_rate_hz, output_rate_hz=self._rate_hz
        )
        self._first_index = self._next_index = block.first_sample_index
        self.clock = SampleClock(block.sample_rate_hz)
        self._rate = RateWatch(block.sample_rate_hz)
        self._next_stamp_ns = block.stamp_ns
        self._collected = np.zeros(silence, dtype=np.float32)
        self._collected_start = -silence  # index of the first collected sample in the segment
        self._next_window = -silence  # index of the first sample of the next window
        self._recent: deque[NDArray[np.float32]] = deque()
        self._recent_samples = 0

    def _append(self, block: AudioBlock) -> AudioWindow | None:
        assert self._resampler is not None
        overlap = self._next_index - block.first_sample_index
        self.counts.repeated_samples += min(overlap, len(block.samples))
        fresh = block.samples[overlap:]
        if not len(fresh):
            return None
        self._next_index += len(fresh)
        self._next_stamp_ns = block.stamp_ns + _duration_ns(
            len(block.samples), self._device_rate_hz
        )
        self.clock.add(block.first_sample_index, block.stamp_ns)
        self._rate.add(block.first_sample_index, block.stamp_ns)
        self._keep(fresh)
        mono = self._resampler.push(to_mono(fresh))
        self._collected = np.concatenate([self._collected, mono])
        window = self._newest_window(block)
        unused = min(self._next_window - self._collected_start, len(self._collected))
        self._collected = self._collected[unused:]
        self._collected_start += unused
        return window

    def _keep(self, fresh: NDArray[np.float32]) -> None:
        """Keep as many blocks as hold the newest SPAN_S; blocks are never written again."""
        self._recent.append(fresh)
        self._recent_samples += len(fresh)
        wanted = round(SPAN_S * self._device_rate_hz)
        while self._recent_samples - len(self._recent[0]) >= wanted:
            self._recent_samples -= len(self._recent.popleft())

    def _newest_window(self, block: AudioBlock) -> AudioWindow | None:
        end = self._collected_start + len(self._collected)
        complete = (end - self._window - self._next_window) // self._hop + 1
        if complete < 1:
            return None
        self.counts.skipped_windows += complete - 1
        first = self._next_window + (complete - 1) * self._hop
        self._next_window = first + self._hop
        offset = first - self._collected_start
        start_ns, end_ns = self._time_ns(first), self._time_ns(first + self._window)
        return AudioWindow(
            stamp_ns=block.stamp_ns,
            frame_id=block.frame_id,
            window_start_ns=start_ns,
            window_end_ns=end_ns,
            samples=self._collected[offset : offset + self._window].copy(),
            segment=self._segment,
            first_sample=first,
            silent_s=max(0, -first) / self._rate_hz,
            recent=tuple(self._recent),
            device_rate_hz=self._device_rate_hz,
            rate_ratio=self._rate.ratio,
            notes=block.notes,
        )

    def _time_ns(self, sample: int) -> int:
        """Return the time of a sample of the segment, model rate."""
        return self.clock.time_ns(self._first_index + sample * self._device_rate_hz / self._rate_hz)


def _duration_ns(samples: int, rate_hz: int) -> int:
    return samples * 1_000_000_000 // rate_hz
