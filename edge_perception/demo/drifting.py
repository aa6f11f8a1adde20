"""Drift on the demo's recording: against a reference made of itself, with planted shifts."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.core.share import PACKAGE
from edge_perception.monitoring.drift.reference import SUFFIX, Reference
from edge_perception.observe.drift.making import held_against, make_references
from edge_perception.observe.drift.page import write_drift_page
from edge_perception.recordings.storage import RecordedMessage

DARKER = 0.7  # of each pixel's value
HISS = 600.0  # standard deviation of the noise, of a full scale of 32767
TITLE = f"Images at {DARKER:.0%} of their brightness and a microphone that hisses, from the start"


def demo_references(
    recording: Path, params_files: Sequence[Path], folder: Path
) -> tuple[dict[str, Path], list[str]]:
    """Write the references of a recording; return their files by source, and what is missing.

    Args:
        recording: as the demo plays it.
        params_files: of the vehicle.
        folder: for the references.
    """
    written, missing = {}, []
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in make_references([recording], params_files=params_files):
        if isinstance(made, Reference):
            written[name] = folder / f"{name}{SUFFIX}"
            made.write(written[name])
        else:
            missing.append(f"{name}: no reference: {made}")
    return written, missing


def parameters_of(references: Mapping[str, Path]) -> str:
    """Return a parameter file by which the encoders take these references."""
    return "".join(
        f"/**/{name}_encoder:\n  ros__parameters:\n    monitor.drift_reference: "
        f"{json.dumps(str(path.resolve()))}\n"
        for name, path in sorted(references.items())
    )


def live_drift(metrics: str, sources: Iterable[str]) -> Iterator[str]:
    """Yield what the metrics of the running nodes say of drift, a line a source.

    Args:
        metrics: as they were scraped.
        sources: those that have a reference.
    """
    for source in sources:
        label = f'{{source="{source}"}}'
        known = f"edge_perception_drift_known{label} 1.0" in metrics
        found = re.search(
            rf"^edge_perception_drifted_quantities{re.escape(label)} (\S+)$", metrics, re.M
        )
        said = f"{float(found[1]):.0f} quantities drifted" if known and found else "not known yet"
        yield f"drift      live, {source}: {said}"


def drift_page(
    recording: Path, params_files: Sequence[Path], references: Sequence[Path], page: Path
) -> str:
    """Hold the altered recording against references, write the page; return lines.

    Args:
        recording: as the demo plays it.
        params_files: of the vehicle.
        references: of the recording as it is.
        page: to write.
    """
    held = list(held_against(recording, params_files, references, alter=_Altered()))
    write_drift_page(page, [(TITLE, held)])
    found = [line for item in held for line in item.findings]
    judged = [item.source for item in held if item.judged]
    said = [f"judged: {', '.join(judged) or 'nothing'}"]
    return "drift      " + "\n           ".join([*said, *(found or ["nothing was found to drift"])])


class _Altered:
    """Images darker than they were recorded, sound with noise; other messages as they are."""

    def __init__(self) -> None:
        from rclpy.serialization import deserialize_message, serialize_message
        from sensor_msgs.msg import CompressedImage

        from edge_perception.msg import AudioChunk

        self._read, self._write = deserialize_message, serialize_message
        self._of = {
            "sensor_msgs/msg/CompressedImage": (CompressedImage, _darker),
            f"{PACKAGE}/msg/AudioChunk": (AudioChunk, self._hissing),
        }
        self._noise = np.random.default_rng(1)

    def __call__(self, message: RecordedMessage) -> RecordedMessage:
        """Return the message to replay instead."""
        if message.type not in self._of:
            return message
        kind, alter = self._of[message.type]
        read = self._read(message.data, kind)
        read.data = alter(read)
        return dataclasses.replace(message, data=self._write(read))

    def _hissing(self, chunk: Any) -> bytes:
        samples = np.frombuffer(chunk.data, "<i2").astype(np.float64)
        samples += self._noise.normal(0.0, HISS, samples.shape)
        return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()


def _darker(image: Any) -> bytes:
    import cv2

    from edge_perception.samples.images import decoded

    pixels = decoded(bytes(image.data), "image of the recording")
    darker = cv2.convertScaleAbs(pixels, alpha=DARKER)
    return bytes(cv2.imencode(".jpg", darker, (cv2.IMWRITE_JPEG_QUALITY, 92))[1].tobytes())
