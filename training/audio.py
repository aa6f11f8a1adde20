"""Train the audio encoder: `python -m training.audio`."""

from __future__ import annotations

import argparse
import copy
import json
import wave
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from edge_perception.core.schema import decode
from edge_perception.encoders.audio.log_mel import LogMel, LogMelConfig
from training.lidar import OUT, pandaset_folder
from training.loop import Plan, train
from training.nets import AudioNet
from training.patches import Pool, made_patch
from training.sounds import CLASSES, RATE_HZ
from training.variants import audio_net, fusion_sound_head

PREPROCESSING = {
    "sample_rate_hz": RATE_HZ, "window_s": 0.025, "hop_s": 0.010, "fft_size": 512,
    "mel_bins": 64, "mel_min_hz": 125.0, "mel_max_hz": 7500.0, "mel_scale": "htk",
    "log_offset": 0.001, "patch_frames": 96, "patch_hop_frames": 10,
}  # fmt: skip
CONFIG = decode(LogMelConfig, PREPROCESSING, "preprocessing")
HELD_OUT = 1 << 29  # samples from here on are never trained on


class AudioSamples(Dataset):
    """Synthetic windows; sample i depends on i and the size of the pool alone."""

    def __init__(self, pool: int = 0) -> None:
        """Fill the pool; without one every window is made for its one use."""
        self._pool = Pool(CONFIG, pool) if pool else None

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index: int) -> dict[str, NDArray]:
        if self._pool is not None:
            return self._pool.drawn(np.random.default_rng([5, index]))
        sample = made_patch(CONFIG, index)
        return {**sample, "patch": sample["patch"][None]}


def audio_loss(
    net: nn.Module, batch: dict[str, Tensor], *, other: nn.Module | None = None
) -> dict[str, Tensor]:
    """Return the binary cross-entropy over the labels that are certain.

    `other` is a second head on the embedding, that of a fusion model which is there already: with
    it the embedding goes on meaning to that model what it meant.
    """
    logits, embedding = net(batch["patch"])
    parts = {"labels": _cross_entropy(logits, batch)}
    if other is not None:
        parts["fusion"] = 0.3 * _cross_entropy(other(embedding), batch)
    return parts


def _cross_entropy(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    loss = functional.binary_cross_entropy_with_logits(logits, batch["labels"], reduction="none")
    return (loss * batch["certain"]).sum() / batch["certain"].sum()


def read_wav(path: Path) -> NDArray[np.float32]:
    """Read a 16-bit mono file."""
    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return data.astype(np.float32) / 32768


def score_clip(net: nn.Module, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of every window, (W, K), one window each 0.1 s."""
    short = max(0, CONFIG.patch_samples - len(samples))
    frames = LogMel(CONFIG).frames(np.pad(samples, (0, short)))
    starts = range(0, len(frames) - CONFIG.patch_frames + 1, CONFIG.patch_hop_frames)
    patches = np.stack([frames[s : s + CONFIG.patch_frames] for s in starts])
    with torch.no_grad():
        return torch.sigmoid(net(torch.from_numpy(patches)[:, None])[0]).numpy()


def evaluate(net: nn.Module, threshold: float = 0.5, windows: int = 2000) -> dict:
    """Return F1 by class on held-out synthetic windows and maxima on the recorded clips."""
    data = AudioSamples()
    samples = [data[HELD_OUT + i] for i in range(windows)]
    with torch.no_grad():
        patches = torch.from_numpy(np.stack([s["patch"] for s in samples]))
        scores = torch.sigmoid(net(patches)[0]).numpy()
    report: dict = {"synthetic_held_out_f1": {}, "clips": {}}
    for k, name in enumerate(CLASSES):
        sure = np.array([s["certain"][k] for s in samples]) > 0
        wanted = np.array([s["labels"][k] for s in samples])[sure] > 0
        found = scores[sure, k] > threshold
        f1 = 2 * (wanted & found).sum() / max(wanted.sum() + found.sum(), 1)
        report["synthetic_held_out_f1"][name] = round(float(f1), 3)
    for path in sorted((pandaset_folder().parent / "audio").glob("*.wav")):
        clip = score_clip(net, read_wav(path))
        report["clips"][path.stem] = {
            name: [round(float(v), 2) for v in np.percentile(clip[:, k], [50, 90, 100])]
            for k, name in enumerate(CLASSES)
        }
    clip = score_clip(net, read_wav(pandaset_folder().parent / "audio/siren_horn_voice.wav"))
    for k, name in enumerate(CLASSES[:2]):
        report[f"siren_horn_voice_{name}"] = [round(float(v), 1) for v in clip[::2, k]]
    return report


def mixed(net: nn.Module, begun: nn.Module, share: float) -> nn.Module:
    """Return `begun` moved towards `net`, which was trained on from it, by a share of the way.

    On the way between both lie networks that know the new and have not lost the old (Wortsman et
    al., Robust fine-tuning of zero-shot models, 2022).
    """
    result = copy.deepcopy(begun).eval()
    with torch.no_grad():
        for kept, new in zip(result.parameters(), net.parameters(), strict=True):
            kept.lerp_(new, share)
    return result


def main() -> None:
    """Train, evaluate, save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--name", default="audio")
    parser.add_argument("--pool", type=int, default=0, help="windows made once and used again")
    parser.add_argument("--workers", type=int, default=1, help="processes that make sounds")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument(
        "--from-bundle",
        action="store_true",
        help="begin with the bundled weights, and keep the embedding fit for the bundled fusion",
    )
    parser.add_argument(
        "--share", type=float, default=1.0,
        help="with --from-bundle: how far from the bundled weights to the trained ones",
    )  # fmt: skip
    parser.add_argument("--held-out", type=int, default=2000, help="synthetic windows")
    arguments = parser.parse_args()
    if not arguments.from_bundle and arguments.share != 1.0:
        parser.error("--share is a way from the bundled weights: give --from-bundle")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    plan = Plan(
        name=arguments.name, steps=arguments.steps, batch=arguments.batch,
        learning_rate=arguments.learning_rate, folder=OUT, workers=arguments.workers,
    )  # fmt: skip
    net: nn.Module = AudioNet(len(CLASSES))
    loss = audio_loss
    if arguments.from_bundle:
        net = audio_net()[0]
        loss = partial(audio_loss, other=fusion_sound_head().requires_grad_(requires_grad=False))
    average = train(plan, net, AudioSamples(arguments.pool), loss)
    if arguments.from_bundle:
        average = mixed(average, audio_net()[0], arguments.share)
    report = {
        **evaluate(average, windows=arguments.held_out),
        "from_bundle": arguments.from_bundle, "share": arguments.share,
        "windows": arguments.held_out,
    }  # fmt: skip
    torch.save(average.state_dict(), OUT / f"{arguments.name}.pt")
    (OUT / f"{arguments.name}_report.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1).replace("\n    ", " "))


if __name__ == "__main__":
    main()
