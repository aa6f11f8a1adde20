"""Log-mel patches, computed as the audio goes on.

The formulas are those of YAMNet's and VGGish's published feature code: periodic Hann window,
magnitude (not power) of the FFT, triangles of height 1 in HTK mel, ln(mel + offset).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_perception.core.errors import ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.encoders.audio.stream import AudioWindow


@dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """The `preprocessing` of an audio model's manifest."""

    sample_rate_hz: int = parameter(unit="Hz", low=1000, high=384_000)
    window_s: float = parameter(unit="s", low=1e-3, high=1.0)
    hop_s: float = parameter(unit="s", low=1e-3, high=1.0)
    fft_size: int = parameter(unit="samples", low=16, high=65_536)
    mel_bins: int = parameter(low=1, high=512)
    mel_min_hz: float = parameter(unit="Hz", low=0.0, high=192_000.0)
    mel_max_hz: float = parameter(unit="Hz", low=0.0, high=192_000.0)
    log_offset: float = parameter(low=1e-12, high=1.0)
    patch_frames: int = parameter(low=1, high=10_000)
    patch_hop_frames: int = parameter(low=1, high=10_000)  # a patch every so many
    mel_scale: str = parameter("htk", choices=("htk", "slaney"))
    power: int = parameter(1, low=1, high=2)  # of the magnitude, before the mel bins
    log: str = parameter("ln", choices=("ln", "db"))  # ln(x + offset), or 10 log10(max(x, offset))
    mean: float = parameter(0.0, low=-1e3, high=1e3)  # taken from the logarithm
    std: float = parameter(1.0, low=1e-3, high=1e3)  # it is divided by
    # Of a frame before its transform: a periodic Hann window; high frequencies raised and a
    # symmetric window; or as Kaldi, its mean taken off before that.
    framing: str = parameter("plain", choices=("plain", "raised", "kaldi"))
    layout: str = parameter("time_mel", choices=("time_mel", "mel_time"))  # axes of the patch
    # Frames before the patch, for a model that listens for longer than one patch, and the graph
    # input that takes them; silence where the stream had not begun. 0: none.
    history_frames: int = parameter(0, low=0, high=10_000)
    history_input: str = ""

    def __post_init__(self) -> None:
        """Check what single fields cannot say."""
        for name in ("window_s", "hop_s"):
            samples = getattr(self, name) * self.sample_rate_hz
            if abs(samples - round(samples)) > 1e-6 * samples:
                raise ManifestError(
                    f"preprocessing.{name}: expected whole samples at {self.sample_rate_hz} Hz, "
                    f"got {samples:g}"
                )
        if self.fft_size < self.window_samples:
            raise ManifestError(
                f"preprocessing.fft_size: expected at least {self.window_samples} (window_s), "
                f"got {self.fft_size}"
            )
        if not self.mel_min_hz < self.mel_max_hz <= self.sample_rate_hz / 2:
            raise ManifestError(
                "preprocessing.mel_max_hz: expected more than mel_min_hz "
                f"({self.mel_min_hz:g}) and at most {self.sample_rate_hz / 2:g} Hz, "
                f"got {self.mel_max_hz:g}"
            )
        if bool(self.history_frames) != bool(self.history_input):
            raise ManifestError(
                "preprocessing.history_input: expected with history_frames and only then, got "
                f"'{self.history_input}' with {self.history_frames} frames"
            )

    @property
    def window_samples(self) -> int:
        """Samples of one frame."""
        return round(self.window_s * self.sample_rate_hz)

    @property
    def hop_samples(self) -> int:
        """Samples from frame to frame."""
        return round(self.hop_s * self.sample_rate_hz)

    @property
    def patch_samples(self) -> int:
        """Samples of one patch."""
        return (self.patch_frames - 1) * self.hop_samples + self.window_samples

    @property
    def patch_hop_samples(self) -> int:
        """Samples from patch to patch."""
        return self.patch_hop_frames * self.hop_samples


class LogMel:
    """Computes a window's patch, taking over the frames it shares with the window before.

    Windows may come in any order and with any number of them dropped: a frame is known by its
    segment and sample index, never by counting calls. The history goes on where the new patch
    overlaps the one before or follows it; a later one, an earlier one and another segment begin it
    anew, with silence.
    """

    def __init__(self, config: LogMelConfig) -> None:
        self._config = config
        length = config.window_samples
        periodic = config.framing == "plain"
        self._window = _hann(length, length if periodic else length - 1)
        self._mel = mel_matrix(config)
        self._segment = -1
        self._first_sample = 0
        shape = (config.history_frames + config.patch_frames, config.mel_bins)
        self._frames = np.zeros(shape, dtype=np.float32)  # oldest first, the patch at the end
        self._silence = np.zeros(config.mel_bins, dtype=np.float32)
        if config.history_frames:
            self._silence = self.frames(np.zeros(length, dtype=np.float32))[0]

    @property
    def history(self) -> NDArray[np.float32]:
        """What was before the newest patch, (history_frames, mel_bins); `patch` changes it."""
        return self._frames[: self._config.history_frames]

    def patch(self, window: AudioWindow) -> NDArray[np.float32]:
        """Return a window's log-mel patch, (patch_frames, mel_bins); the next call changes it."""
        count = self._config.patch_frames
        patch, moved = self._frames[-count:], self._moved(window)
        if moved is None:
            self.history[:] = self._silence
            moved = count
        elif moved:
            self._frames[:-moved] = self._frames[moved:]
        if moved:
            kept = count - moved
            patch[kept:] = self.frames(window.samples[kept * self._config.hop_samples :])
        self._segment, self._first_sample = window.segment, window.first_sample
        return patch

    def frames(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (F, mel_bins) log-mel frames that fit wholly into (N,) samples."""
        config = self._config
        cut = sliding_window_view(samples, config.window_samples)[:: config.hop_samples]
        windowed = cut.copy()
        if config.framing == "kaldi":
            windowed -= windowed.mean(axis=1, keepdims=True)
        if config.framing != "plain":
            _emphasise(windowed)
        windowed *= self._window
        # SciPy's transform stays in single precision; NumPy's goes through double.
        magnitude = np.abs(scipy.fft.rfft(windowed, config.fft_size, axis=1))
        if config.power == 2:
            magnitude *= magnitude
        mel = magnitude @ self._mel
        if config.log == "db":
            np.maximum(mel, np.float32(config.log_offset), out=mel)
            mel = np.float32(10.0) * np.log10(mel, out=mel)
        else:
            mel += np.float32(config.log_offset)
            np.log(mel, out=mel)
        if (config.mean, config.std) != (0.0, 1.0):
            mel -= np.float32(config.mean)
            mel /= np.float32(config.std)
        return mel

    def _moved(self, window: AudioWindow) -> int | None:
        """Return by how many frames the patch moves on; None: it does not follow the kept one."""
        step = window.first_sample - self._first_sample
        moved, rest = divmod(step, self._config.hop_samples)
        if window.segment != self._segment or rest:
            return None
        return moved if 0 <= moved <= self._config.patch_frames else None


def mel_matrix(config: LogMelConfig) -> NDArray[np.float32]:
    """Return (fft_size / 2 + 1, mel_bins): weights from FFT magnitudes to mel bins.

    HTK mel (Young et al., The HTK Book): mel = 1127 ln(1 + f / 700). The triangles' edges are
    evenly spaced in mel and their slopes are linear in mel; the bin of 0 Hz counts nowhere.
    """
    if config.mel_scale == "slaney":
        return _slaney_matrix(config)
    bins_mel = _htk_mel(np.fft.rfftfreq(config.fft_size, 1.0 / config.sample_rate_hz))
    low, high = _htk_mel(np.array([config.mel_min_hz, config.mel_max_hz]))
    edges = np.linspace(low, high, config.mel_bins + 2)
    rising = (bins_mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins_mel[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return weights.astype(np.float32)


def _slaney_matrix(config: LogMelConfig) -> NDArray[np.float32]:
    """As librosa and torchlibrosa make it: slopes linear in Hz, triangles of equal area.

    Slaney's mel (Auditory Toolbox, 1998): linear up to 1 kHz, logarithmic above.
    """
    bins_hz = np.fft.rfftfreq(config.fft_size, 1.0 / config.sample_rate_hz)
    low, high = _slaney_mel(np.array([config.mel_min_hz, config.mel_max_hz]))
    edges = _slaney_hz(np.linspace(low, high, config.mel_bins + 2))
    rising = (bins_hz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins_hz[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (edges[2:] - edges[:-2])
    return weights.astype(np.float32)


_KNEE_HZ, _HZ_A_MEL, _LOG_STEP = 1000.0, 200.0 / 3.0, np.log(6.4) / 27.0


def _slaney_mel(frequency_hz: NDArray[np.floating]) -> NDArray[np.float64]:
    above = _KNEE_HZ / _HZ_A_MEL + np.log(np.maximum(frequency_hz, 1.0) / _KNEE_HZ) / _LOG_STEP
    return np.where(frequency_hz < _KNEE_HZ, frequency_hz / _HZ_A_MEL, above)


def _slaney_hz(mel: NDArray[np.floating]) -> NDArray[np.float64]:
    knee = _KNEE_HZ / _HZ_A_MEL
    return np.where(mel < knee, mel * _HZ_A_MEL, _KNEE_HZ * np.exp((mel - knee) * _LOG_STEP))


def _htk_mel(frequency_hz: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(frequency_hz / 700.0), np.float64)


def _hann(length: int, period: int) -> NDArray[np.float32]:
    phase = 2.0 * np.pi * np.arange(length) / period
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


_PREEMPHASIS = np.float32(0.97)


def _emphasise(frames: NDArray[np.float32]) -> None:
    """Take 0.97 of the sample before off each sample of frames, (F, N).

    What is before the first one does not matter: a symmetric window is 0 there.
    """
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames -= _PREEMPHASIS * before
