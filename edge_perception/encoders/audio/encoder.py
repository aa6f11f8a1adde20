"""The audio intake and encoder: AudioChunk in, embedding and sound events out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.errors import InvalidFrameError, ManifestError
from edge_perception.core.schema import decode
from edge_perception.core.types import Geometry
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.audio.foreign import MessageConverter
from edge_perception.encoders.audio.levels import LevelMeter
from edge_perception.encoders.audio.locator import SoundLocator
from edge_perception.encoders.audio.log_mel import LogMel, LogMelConfig
from edge_perception.encoders.audio.stream import AudioWindow, StreamAssembler
from edge_perception.encoders.audio.waveform import WaveformConfig
from edge_perception.encoders.checked_model import CheckedModel
from edge_perception.models.adapters.audio_tagger import SoundContext
from edge_perception.models.manifest import Manifest, TensorSpec

_Input = tuple[str, tuple[int, ...]]  # name and shape


def audio_preprocessing(manifest: Manifest) -> LogMelConfig | WaveformConfig:
    """Return a manifest's preprocessing: log-mel patches, or the samples themselves.

    Raises:
        ManifestError: a field is unknown, missing or out of range.
    """
    where = f"{manifest.name}: manifest.preprocessing"
    if "waveform_s" in manifest.preprocessing:
        return decode(WaveformConfig, manifest.preprocessing, where, error=ManifestError)
    return decode(LogMelConfig, manifest.preprocessing, where, error=ManifestError)


class AudioIntake:
    """Keeps one microphone's stream together; used by the callback thread.

    Converting and resampling a 100 ms block takes well under a millisecond, so it is done where
    no block can be lost, ahead of the latest-only mailbox.
    """

    def __init__(self, manifest: Manifest) -> None:
        config = audio_preprocessing(manifest)
        self._converter = MessageConverter()
        self._meter = LevelMeter()
        self._stream = StreamAssembler(
            rate_hz=config.sample_rate_hz,
            window_samples=config.patch_samples,
            hop_samples=config.patch_hop_samples,
        )

    def learn_from(self, before: AudioIntake) -> None:
        """Go on with the format that was told once, and with the count of samples."""
        self._converter = before._converter.copy()

    def describe(self) -> dict[str, str]:
        """Return what diagnostics say of the stream; drift: the card's clock to the system's."""
        clock, counts = self._stream.clock, self._stream.counts
        return {
            "clock_drift_ppm": f"{clock.drift_ppm:.1f}",
            "stamp_jitter_ms": f"{clock.jitter_s * 1e3:.2f}",
            "gaps": str(counts.gaps),
            "restarts": str(counts.restarts + counts.format_changes),
            "repeated_samples": str(counts.repeated_samples),
            "skipped_windows": str(counts.skipped_windows),
        }

    def accept(self, message: Any) -> AudioWindow | None:
        """Take an AudioChunk, a message of either audio_common_msgs, or an AudioBlock.

        Returns:
            A window each hop; None while the next one is not complete.

        Raises:
            InvalidFrameError: the message cannot be used, or the stream was interrupted before it.
        """
        try:
            block = self._converter.convert(message)
        except InvalidFrameError:
            # The block's samples are missing now, which is said here and needs no second refusal.
            self._stream.reset()
            raise
        if block is None:
            return None
        levels = self._meter.measure(block)
        window = self._stream.push(block)
        return None if window is None else replace(window, levels=levels)

    def frame(self, item: AudioWindow) -> AudioWindow:
        """Return the window: nothing is left to convert."""
        return item


class AudioEncoder(CheckedModel):
    """A model on log-mel patches or on samples. Used by one inference thread."""

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        super().__init__(manifest, backend)
        config = audio_preprocessing(manifest)
        self._log_mel: LogMel | None = None
        self._turned = False
        inputs = list(manifest.inputs)
        self._history: _Input | None = None  # of a model that listens for longer than one patch
        if isinstance(config, LogMelConfig):
            self._log_mel = LogMel(config)
            self._turned = config.layout == "mel_time"
            if config.history_input:
                beside = [spec for spec in inputs if spec.name == config.history_input]
                inputs = [spec for spec in inputs if spec.name != config.history_input]
                shape = self._axes(config.history_frames, config.mel_bins)
                self._history = _input_of(manifest, beside, shape, "history_frames, mel_bins")
            shape = self._axes(config.patch_frames, config.mel_bins)
            self._input = _input_of(manifest, inputs, shape, "patch_frames, mel_bins")
        else:
            self._input = _input_of(manifest, inputs, (config.patch_samples,), "samples")
        self._locator = SoundLocator()

    def preprocess(
        self,
        frame: AudioWindow,
        geometry: Geometry,  # noqa: ARG002 (what is heard, not where)
    ) -> dict[str, NDArray]:
        """Return the log-mel patch with its history, or the samples, under the graph's names."""
        name, shape = self._input
        if self._log_mel is None:
            return {name: np.ascontiguousarray(frame.samples, np.float32).reshape(shape)}
        inputs = {name: self._placed(self._log_mel.patch(frame), shape)}
        if self._history is not None:
            name, shape = self._history
            inputs[name] = self._placed(self._log_mel.history, shape)
        return inputs

    def _axes(self, frames: int, bins: int) -> tuple[int, ...]:
        return (bins, frames) if self._turned else (frames, bins)

    def _placed(self, frames: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.ascontiguousarray(frames.T if self._turned else frames).reshape(shape)

    def postprocess(
        self, outputs: Mapping[str, NDArray], frame: AudioWindow, geometry: Geometry
    ) -> EncoderOutput:
        """Return the feature tensors and the sound events of the window."""
        context = SoundContext(
            window_start_ns=frame.window_start_ns,
            window_end_ns=frame.window_end_ns,
            segment=frame.segment,
        )
        events = self.decide(outputs, context).sound_events
        events, warning = self._locator.locate(events, frame, geometry)
        return EncoderOutput(
            tensors=self.features(outputs),
            sound_events=events,
            warning=warning,
        )


def _input_of(
    manifest: Manifest, among: Sequence[TensorSpec], trailing: tuple[int, ...], what: str
) -> _Input:
    count = len(trailing)
    fitting = [
        spec
        for spec in among
        if spec.shape[-count:] == trailing
        and set(spec.shape[:-count]) <= {1}
        and spec.dtype == "float32"
    ]
    if len(among) != 1 or not fitting:
        got = ", ".join(f"'{spec.name}' {spec.shape} {spec.dtype}" for spec in manifest.inputs)
        raise ManifestError(
            f"{manifest.name}: inputs: expected one of shape (1, …, "
            f"{', '.join(map(str, trailing))}) float32 ({what}), got {got}"
        )
    return fitting[0].name, fitting[0].shape
