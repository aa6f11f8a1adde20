"""The frames that sets are measured on: of recordings, or simulated ones."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from edge_perception.core.errors import ConfigurationError, InvalidFrameError
from edge_perception.core.types import Geometry
from edge_perception.encoders import encoders
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.evaluation.frames import FIRST_SEED, load_frame
from edge_perception.models.manifest import FUSION, Bundle
from edge_perception.optimize.recorded_encoders import RecordedEncoders
from edge_perception.recordings.reader import Recording
from edge_perception.recordings.storage import RecordedMessage
from edge_perception.replay.binding import Binding

NS = 1_000_000_000
_SIMULATED = 4
_MOMENTS = 6  # of all recordings, at least two of each
_MOMENT_NS = 5 * NS // 2  # a window of sound has to fill up in it
_MOST_OF_MOMENT = 4  # frames of a source: of a stream several that follow one another


@dataclass(kw_only=True)
class SetFrames:
    """Frames by role, with where their sensor sits."""

    by_role: dict[str, list[tuple[Any, Geometry]]] = field(default_factory=dict)
    told: str = ""  # what they are of

    def write(self, path: Path) -> None:
        """Write them for `read_set_frames`, into a folder that is ours alone."""
        with path.open("wb") as file:
            pickle.dump(self.by_role, file, protocol=pickle.HIGHEST_PROTOCOL)


def read_set_frames(path: Path) -> dict[str, list[tuple[Any, Geometry]]]:
    """Return frames by role, of a file that a process of ours wrote."""
    with path.open("rb") as file:
        found: dict[str, list[tuple[Any, Geometry]]] = pickle.load(file)
    return found


def simulated_frames(served: Mapping[str, Bundle], cache: Path) -> SetFrames:
    """Return simulated frames of the modalities that the simulator has.

    Args:
        served: models by role.
        cache: folder of rendered frames.
    """
    found = SetFrames(told=f"{_SIMULATED} simulated frames")
    for number in range(_SIMULATED):
        frame = load_frame(FIRST_SEED + number, cache)
        if "camera" in served:
            _add(found, "camera", frame.images[0], frame.camera)
        if "lidar" in served:
            _add(found, "lidar", frame.cloud, frame.lidar)
        if "audio" in served:
            intake = encoders()["audio"].make_intake(served["audio"].manifest)
            for block in frame.blocks:
                item = intake.accept(block)
                if item is not None:
                    window = replace(copy.deepcopy(intake.frame(item)), segment=number)
                    _add(found, "audio", window, frame.microphones)
    return found


def recorded_frames(
    served: Mapping[str, Bundle], recordings: Sequence[Path], params_files: Sequence[Path] = ()
) -> SetFrames:
    """Return frames of recordings as the encoders of the vehicle get them, evenly over time.

    Args:
        served: models by role; a role that no recording has is left out.
        recordings: rosbag2 or MCAP.
        params_files: poses and topics, where they are not beside a recording.

    Raises:
        ConfigurationError: a recording cannot be read, or has no usable frame of any role.
        EdgePerceptionError: a model does not run.
    """
    found = SetFrames()
    for path in recordings:
        before = {role: len(frames) for role, frames in found.by_role.items()}
        _take(found, served, path, max(2, _MOMENTS // len(recordings)), params_files)
        if {role: len(frames) for role, frames in found.by_role.items()} == before:
            raise ConfigurationError(
                f"{path}: expected frames of {', '.join(sorted(set(served) - {FUSION}))}, none "
                f"could be used; `edge-perception validate {path}` says why"
            )
    counts = ", ".join(f"{len(frames)} of {role}" for role, frames in found.by_role.items())
    found.told = f"frames of {', '.join(path.name for path in recordings)} ({counts})"
    return found


def _take(
    found: SetFrames,
    served: Mapping[str, Bundle],
    path: Path,
    moments: int,
    params_files: Sequence[Path],
) -> None:
    recorded = RecordedEncoders(path, params_files)
    bound = recorded.bind(recorded.vehicle)
    first = {
        source.spec.modality: source.name
        for source in reversed(recorded.vehicle.sources)
        if source.spec.modality in served and bound.topics_of(source.name)
    }
    if not first:
        raise ConfigurationError(
            f"{path}: expected messages of {', '.join(sorted(set(served) - {FUSION}))}, got "
            f"{', '.join(sorted(recorded.bag.counts)) or 'no topic'}"
        )
    taps: dict[str, _Tap] = {}

    def tap(source: str, pipeline: EncoderPipeline) -> _Tap:
        return taps.setdefault(source, _Tap(pipeline.model.encoder))

    plan = recorded.plan({source: served[role] for role, source in first.items()})
    recorded.play(plan, tap, partial(_of_moments, recorded.bag, moments, taps))
    for role, source in first.items():
        number = len(found.by_role.get(role, ()))
        for frame, geometry in taps[source].taken():
            kept = replace(frame, segment=frame.segment + number) if _streams(frame) else frame
            _add(found, role, kept, geometry)


def _of_moments(
    bag: Recording,
    count: int,
    taps: Mapping[str, _Tap],
    binding: Binding,
    messages: Iterable[RecordedMessage],
) -> Iterator[RecordedMessage]:
    """Yield the messages of so many stretches, and all that tell how they are to be read."""
    every_ns = max((bag.end_ns - bag.start_ns) // count, 1)
    now = 0
    for message in messages:
        moment, since_ns = divmod(message.log_time_ns - bag.start_ns, every_ns)
        if message.topic in binding.inputs and since_ns > _MOMENT_NS:
            continue
        if moment != now:
            now = moment
            for tap in taps.values():
                tap.next_moment()
        yield message


class _Tap:
    """Stands for an encoder, keeps the last frames of each moment, and runs no model."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._newest: list[tuple[Any, Geometry]] = []
        self._kept: list[tuple[Any, Geometry]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def preprocess(self, frame: Any, geometry: Geometry) -> dict[str, Any]:
        """Keep a copy: the next frame may overwrite this one."""
        most = _MOST_OF_MOMENT if _streams(frame) else 1
        self._newest = [*self._newest, (copy.deepcopy(frame), geometry)][-most:]
        raise InvalidFrameError("only looked at")

    def next_moment(self) -> None:
        """End a moment."""
        self._kept += self._newest
        self._newest = []

    def taken(self) -> list[tuple[Any, Geometry]]:
        """Return the frames of all moments."""
        self.next_moment()
        return self._kept


def _streams(frame: Any) -> bool:
    """Whether frames follow one another in a stream, so that work on one serves the next."""
    return hasattr(frame, "segment")


def _add(found: SetFrames, role: str, frame: Any, geometry: Geometry) -> None:
    found.by_role.setdefault(role, []).append((frame, geometry))
