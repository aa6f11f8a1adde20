"""Reads what transformers writes beside an audio spectrogram transformer (Gong et al., 2021).

Its features are Kaldi's filter banks, which the model was trained on with fixed numbers; the rate,
the number of bins, the mean and the deviation are in preprocessor_config.json, the class names in
config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ModelError

_LARGEST = 1 << 22
_BESIDE = ("config.json", "preprocessor_config.json")
_FAMILY = "audio-spectrogram-transformer"
_LEAST_ENERGY = 1.1920929e-07  # of a bin before its logarithm
_WINDOW_S = 0.025


@dataclass(frozen=True, kw_only=True)
class TaggerConfig:
    """What such files say."""

    name: str  # of the file that was given
    labels: tuple[str, ...]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)  # as in a manifest


def read_tagger_config(path: Path) -> TaggerConfig:
    """Read one of the two files; the other is looked for beside it.

    Raises:
        ModelError: they cannot be read, or are of another family.
    """
    both: dict[str, Any] = {}
    for file in (*(path.with_name(name) for name in _BESIDE), path):
        if file == path or file.is_file():
            both |= _loaded(file)
    if both.get("model_type") != _FAMILY or "num_mel_bins" not in both:
        raise ModelError(
            f"{path.name}: of audio models expected config.json and preprocessor_config.json of "
            f"transformers, model_type {_FAMILY}; others give class names with --labels and what "
            "the spectrogram is made by with --assume"
        )
    try:
        rate_hz = int(both.get("sampling_rate", 16_000))
        numbered = {int(number): str(name) for number, name in both.get("id2label", {}).items()}
        normal = bool(both.get("do_normalize", True))
        made = {
            "sample_rate_hz": rate_hz,
            "window_s": _WINDOW_S,
            "hop_s": 0.010,
            "fft_size": 1 << (round(_WINDOW_S * rate_hz) - 1).bit_length(),
            "mel_bins": int(both["num_mel_bins"]),
            "mel_min_hz": 20.0,
            "mel_max_hz": rate_hz / 2,
            "mel_scale": "htk",
            "power": 2,
            "log": "ln",
            "log_offset": _LEAST_ENERGY,
            "framing": "kaldi",
            "mean": float(both["mean"]) if normal else 0.0,
            "std": 2 * float(both["std"]) if normal else 1.0,
            "patch_frames": int(both.get("max_length", 1024)),
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(f"{path.name}: is not as transformers writes it: {error!r}") from error
    if sorted(numbered) != list(range(len(numbered))):
        raise ModelError(f"{path.name}: id2label: expected numbers from 0 on without a gap")
    return TaggerConfig(
        name=path.name,
        labels=tuple(numbered[number] for number in sorted(numbered)),
        preprocessing=made,
    )


def _loaded(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path.name}: expected at most {_LARGEST} bytes")
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: expected JSON: {' '.join(str(error).split())[:200]}") from error
    return data if isinstance(data, dict) else {}
