"""From which doubt on a server should be asked: by the share of frames, or by what it would change.

Recordings pass the vehicle's encoder in lock step. The gain needs the server's model here, too:
what it decides otherwise in a frame is what asking would have brought. No labels are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.core.doubt import doubt_bits
from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.types import Feature, Geometry
from edge_perception.fusion.geometry import rectangle_iou
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import Bundle
from edge_perception.recordings.decoding import MessageDecoder
from edge_perception.recordings.own_parameters import with_own_parameters
from edge_perception.recordings.reader import open_recording
from edge_perception.replay.binding import bind
from edge_perception.replay.lockstep import LockStep
from edge_perception.replay.vehicle import build_vehicle
from edge_perception.replay.virtual import LatencyModel, StageClock
from edge_perception.running.vehicle_plan import read_plan

_SURE, _APART_M, _OVERLAP = 0.5, 2.0, 0.5
_DECIMALS = 4


@dataclass(frozen=True, kw_only=True)
class DoubtedFrame:
    """One frame of a recording."""

    bits: float  # doubt of the vehicle's decisions
    changed: int = 0  # sure decisions that only one of the two models has


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold and what it does on the recordings."""

    bits: float
    share: float  # of the frames
    gain: float  # share of all changes that are in these frames; NaN: none are known
    frames: int
    changes: int


def doubted_frames(
    paths: Sequence[Path],
    source: str,
    *,
    params_files: Sequence[Path] = (),
    other: Bundle | None = None,
) -> list[DoubtedFrame]:
    """Return every valid frame of a source.

    Args:
        paths: recordings.
        source: whose frames.
        params_files: of the vehicle, where they are not beside a recording.
        other: what the server runs; None: changes are not known.

    Raises:
        EdgePerceptionError: a recording or a model cannot be used, or there is no frame.
    """
    frames: list[DoubtedFrame] = []
    for path in paths:
        before = len(frames)
        refused = _drive(path, source, params_files, other, frames.append)
        if len(frames) == before:
            raise ConfigurationError(
                f"{path}: expected frames of {source}, none could be used ({refused} refused)"
            )
    return frames


def _drive(
    path: Path,
    source: str,
    params_files: Sequence[Path],
    other: Bundle | None,
    take: Callable[[DoubtedFrame], None],
) -> int:
    bag = open_recording(path)
    decoder = MessageDecoder(bag.definitions())
    plan = read_plan(with_own_parameters(path, params_files), subset=[source])
    plan = replace(
        plan,
        sources=tuple(replace(one, monitor=None) for one in plan.sources),
        fusion_model=replace(plan.fusion_model, model=""),
    )
    binding = bind(bag, plan, decoder, {})
    if source not in binding.inputs.values():
        raise ConfigurationError(f"{path}: expected a topic of {source}, got none")
    vehicle = build_vehicle(plan, StageClock())
    second = None
    try:
        pipeline = vehicle.pipelines[source]
        second = _Second(pipeline.spec, other) if other is not None else None

        def seen(frame: Any, feature: Feature, geometry: Geometry, _bundle: Bundle) -> None:
            if feature.valid:
                changed = second.changes(frame, geometry, feature) if second is not None else 0
                take(DoubtedFrame(bits=doubt_bits(feature), changed=changed))

        pipeline.seen = seen
        replay = LockStep(vehicle, binding, decoder, latency=LatencyModel(), start_ns=bag.start_ns)
        for _ in replay.run(replay.read(bag.messages(list(binding.topics)))):
            pass
        return pipeline.refused
    finally:
        vehicle.close()
        if second is not None:
            second.close()


class _Second:
    """The server's model, run here."""

    def __init__(self, spec: Any, bundle: Bundle) -> None:
        if bundle.manifest.role != spec.modality:
            raise ConfigurationError(
                f"{bundle.manifest.name}: expected a model of role {spec.modality}, got "
                f"{bundle.manifest.role}"
            )
        self._backend = open_bundle(bundle, ModelOptions(model=bundle.manifest.name)).backend
        self._encoder = spec.make_encoder(bundle.manifest, self._backend)

    def changes(self, frame: Any, geometry: Geometry, feature: Feature) -> int:
        """Return how many sure decisions of a frame only one of the models has."""
        try:
            inputs = self._encoder.preprocess(frame, geometry)
            output = self._encoder.postprocess(self._encoder.infer(inputs), frame, geometry)
        except EdgePerceptionError:
            return 0  # the server would have had no answer either
        return changes(feature, output)

    def close(self) -> None:
        self._backend.close()


def changes(ours: Any, theirs: Any) -> int:
    """Return how many sure decisions only one of two outputs has."""
    count = 0
    for kind, same in (
        ("objects", _same_place),
        ("image_objects", _same_rectangle),
        ("sound_events", lambda _a, _b: True),
    ):
        pairs = (getattr(ours, kind), getattr(theirs, kind))
        for these, those in (pairs, pairs[::-1]):
            count += sum(
                item.score >= _SURE
                and not any(
                    other.score >= _SURE
                    and other.class_name == item.class_name
                    and same(item, other)
                    for other in those
                )
                for item in these
            )
    return count


def _same_place(a: Any, b: Any) -> bool:
    return math.dist(a.center_m[:2], b.center_m[:2]) <= _APART_M


def _same_rectangle(a: Any, b: Any) -> bool:
    boxes = [np.array([[i.x_min, i.y_min, i.x_max, i.y_max]]) for i in (a, b)]
    return bool(rectangle_iou(*boxes)[0, 0] >= _OVERLAP)


def threshold_for_share(frames: Sequence[DoubtedFrame], share: float) -> Threshold:
    """Return the lowest threshold that sends at most this share of the frames.

    Raises:
        ConfigurationError: no threshold does: too many frames are in doubt alike.
    """
    bits = np.array([frame.bits for frame in frames])
    for value in np.unique(_up(bits)):
        if (bits >= value).mean() <= share:
            return judged(frames, float(value))
    raise ConfigurationError(
        f"no threshold sends at most {share:.1%} of the frames: {(bits >= bits.max()).mean():.1%} "
        f"are in doubt by {bits.max():.4f} bit"
    )


def threshold_for_gain(frames: Sequence[DoubtedFrame], gain: float) -> Threshold:
    """Return the highest threshold whose frames have at least this share of all changes.

    Raises:
        ConfigurationError: the other model changes nothing.
    """
    total = sum(frame.changed for frame in frames)
    if not total:
        raise ConfigurationError(
            f"the server's model decides as the vehicle's in all {len(frames)} frames: asking "
            "brings nothing"
        )
    bits = np.array([frame.bits for frame in frames])
    for value in np.unique(_down(bits))[::-1]:
        found = judged(frames, float(value))
        if found.gain >= gain:
            return found
    return judged(frames, 0.0)


def judged(frames: Sequence[DoubtedFrame], bits: float) -> Threshold:
    """Return what a threshold does."""
    sent = [frame for frame in frames if frame.bits >= bits]
    total, within = (sum(f.changed for f in some) for some in (frames, sent))
    return Threshold(
        bits=bits,
        share=len(sent) / len(frames),
        gain=within / total if total else float("nan"),
        frames=len(sent),
        changes=within,
    )


def _up(bits: np.ndarray) -> np.ndarray:
    return np.asarray(np.ceil(bits * 10**_DECIMALS) / 10**_DECIMALS)


def _down(bits: np.ndarray) -> np.ndarray:
    return np.asarray(np.floor(bits * 10**_DECIMALS) / 10**_DECIMALS)
