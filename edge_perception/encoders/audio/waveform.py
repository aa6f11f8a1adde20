"""Models that take the samples themselves and make their own spectrogram, as PANNs do."""

from __future__ import annotations

from dataclasses import dataclass

from edge_perception.core.parameter import parameter


@dataclass(frozen=True, kw_only=True)
class WaveformConfig:
    """The `preprocessing` of such a model's manifest; with it there is no other."""

    sample_rate_hz: int = parameter(unit="Hz", low=1000, high=384_000)
    waveform_s: float = parameter(unit="s", low=0.05, high=60.0)  # samples that it looks at
    waveform_hop_s: float = parameter(0.1, unit="s", low=0.01, high=60.0)  # one look every so long

    @property
    def patch_samples(self) -> int:
        """Samples of one look."""
        return round(self.waveform_s * self.sample_rate_hz)

    @property
    def patch_hop_samples(self) -> int:
        """Samples from look to look."""
        return max(1, round(self.waveform_hop_s * self.sample_rate_hz))
