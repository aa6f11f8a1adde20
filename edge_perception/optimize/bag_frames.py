"""Frames of recordings as a model's encoder sees them: inputs, geometry, decisions, slices."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.conditions import LIGHTS
from edge_perception.core.errors import ConfigurationError
from edge_perception.core.types import Geometry
from edge_perception.encoders import EncoderOutput
from edge_perception.encoders.pipeline import EncoderPipeline
from edge_perception.models.manifest import Bundle
from edge_perception.optimize.recorded_encoders import RecordedEncoders
from edge_perception.running.vehicle_plan import VehiclePlan

FAR_M = 35.0
SMALL_SHARE = 0.01  # of the image's area
_PICTURE_BYTES = 1 << 20
Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class BagFrame:
    """One frame of a recording."""

    recording: str
    inputs: Mapping[str, NDArray]  # of the graph; on disk until they are read
    frame: Any  # of the modality; a picture keeps its size only
    geometry: Geometry
    output: EncoderOutput  # of the model that the frames were taken with
    tags: tuple[str, ...]  # slices: light, far, small


class _OnDisk(Mapping[str, NDArray]):
    """Arrays that are read from their files at each access.

    A mapped file stays open for as long as its array lives, and a process may often have no more
    than 1,024 files open.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> NDArray:
        found: NDArray = np.load(self._paths[name])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class FrameStore:
    """Frames with their graph inputs in files of a temporary folder; use as a context."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edge_perception_frames_")
        self._files = 0
        self.frames: list[BagFrame] = []
        self.seen: Counter[str] = Counter()  # frames of each recording that the model ran on
        self.notes: list[str] = []

    def __enter__(self) -> FrameStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.frames.clear()
        self._folder.cleanup()

    def put(self, frame: BagFrame) -> None:
        """Keep a frame."""
        self.frames.append(replace(frame, inputs=self.keep(frame.inputs)))

    def keep(self, arrays: Mapping[str, NDArray]) -> Mapping[str, NDArray]:
        """Return the same arrays, in files of the folder."""
        kept: dict[str, Path] = {}
        for name, array in arrays.items():
            path = Path(self._folder.name) / f"{self._files}.npy"
            self._files += 1
            try:
                np.save(path, array)
            except OSError as error:  # of a full disk it does not say where
                raise OSError(error.errno, error.strerror or str(error), str(path)) from error
            kept[name] = path
        return _OnDisk(kept)

    def slices(self) -> dict[str, int]:
        """Return how many frames each slice has."""
        return dict(Counter(tag for frame in self.frames for tag in frame.tags))


def read_frames(
    store: FrameStore,
    bundle: Bundle,
    recordings: Sequence[Path],
    *,
    most: int,
    params_files: Sequence[Path] = (),
    progress: Progress = lambda _done: None,
) -> None:
    """Take frames of a model's modality, spread evenly over time and recordings.

    Args:
        store: gets them.
        bundle: its encoder makes the inputs, and its decisions are kept with them.
        recordings: rosbag2 or MCAP.
        most: so many at most, an equal share of each recording.
        params_files: calibration and poses, where they are not beside a recording.
        progress: is told how many frames there are.

    Raises:
        ConfigurationError: a recording cannot be read, or has no usable frame of the modality.
        EdgePerceptionError: a model does not run.
    """
    share = max(1, most // max(len(recordings), 1))
    for path in recordings:
        taken = _read(store, bundle, path, share, params_files, progress)
        if not taken:
            raise ConfigurationError(
                f"{path}: expected frames of a {bundle.manifest.role}, none of "
                f"{store.seen[path.name]} could be used; `edge-perception validate {path}` says why"
            )


def _read(
    store: FrameStore,
    bundle: Bundle,
    path: Path,
    most: int,
    params_files: Sequence[Path],
    progress: Progress,
) -> int:
    recorded = RecordedEncoders(path, params_files)
    source = _source(path, recorded.vehicle, bundle.manifest.role)
    plan = recorded.plan({source: bundle})
    counts = recorded.bag.counts
    total = sum(counts.get(topic, 0) for topic in recorded.bind(plan).topics_of(source))
    if not total:
        raise ConfigurationError(
            f"{path}: expected messages of {source}, got none; it has "
            f"{', '.join(sorted(counts)) or 'no topic'}"
        )
    before = len(store.frames)

    def tap(_source: str, pipeline: EncoderPipeline) -> _Tap:
        made = pipeline.spec.statistics
        statistics = made() if made else None
        inner = pipeline.model.encoder
        return _Tap(inner, store, path.name, total / most, statistics, progress)

    recorded.play(plan, tap)
    return len(store.frames) - before


def _source(path: Path, plan: VehiclePlan, role: str) -> str:
    names = [source.name for source in plan.sources if source.spec.modality == role]
    if not names:
        raise ConfigurationError(f"{path}: its parameters have no source of role {role}")
    return names[0]


class _Tap:
    """Stands for an encoder and keeps every n-th frame that passes."""

    def __init__(
        self,
        inner: Any,
        store: FrameStore,
        recording: str,
        every: float,
        statistics: Any,
        progress: Progress,
    ) -> None:
        self._inner, self._store, self._recording = inner, store, recording
        self._every = max(1.0, every)
        self._statistics, self._progress = statistics, progress
        self._inputs: dict[str, NDArray] | None = None
        self._light = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def preprocess(self, frame: Any, geometry: Geometry) -> dict[str, NDArray]:
        """Keep a copy where it is this frame's turn."""
        inputs: dict[str, NDArray] = self._inner.preprocess(frame, geometry)
        number = self._store.seen[self._recording]
        self._store.seen[self._recording] += 1
        due = math.floor(number / self._every) != math.floor((number - 1) / self._every)
        self._inputs = {n: np.array(a) for n, a in inputs.items()} if due else None
        if due and self._statistics is not None:
            self._light = _light(self._statistics, frame, geometry)
        return inputs

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model."""
        found: dict[str, NDArray] = self._inner.infer(inputs)
        return found

    def postprocess(
        self, outputs: Mapping[str, NDArray], frame: Any, geometry: Geometry
    ) -> EncoderOutput:
        """Decide, and keep what is kept of the frame."""
        output: EncoderOutput = self._inner.postprocess(outputs, frame, geometry)
        if self._inputs is not None:
            self._store.put(
                BagFrame(
                    recording=self._recording, inputs=self._inputs, frame=light_copy(frame),
                    geometry=geometry, output=replace(output, tensors={}),
                    tags=tuple(filter(None, (self._light, *_tags(output, frame)))),
                )
            )  # fmt: skip
            self._progress(len(self._store.frames))
        return output


def _light(statistics: Any, frame: Any, geometry: Geometry) -> str:
    scores = statistics.scores(statistics.of(frame, geometry))
    told = {name: scores[name] for name in LIGHTS if scores.get(name, math.nan) >= 0}
    return max(told, key=told.__getitem__) if told else ""


def _tags(output: EncoderOutput, frame: Any) -> list[str]:
    """Name the slices that the decisions put a frame into."""
    found = []
    if any(math.hypot(*item.center_m[:2]) > FAR_M for item in output.objects):
        found.append("far")
    picture = getattr(frame, "bgr", None)
    if picture is not None:
        area = picture.shape[0] * picture.shape[1]
        sizes = [(b.x_max - b.x_min) * (b.y_max - b.y_min) for b in output.image_objects]
        if any(size < SMALL_SHARE * area for size in sizes):
            found.append("small")
    return found


def light_copy(frame: Any) -> Any:
    """Return a frame that may be kept: pictures keep their shape and lose what is in them.

    Postprocessing reads the size of a picture and never its pixels.
    """
    if not is_dataclass(frame) or isinstance(frame, type):
        return frame
    changes: dict[str, Any] = {}
    for field in fields(frame):
        value = getattr(frame, field.name)
        if isinstance(value, np.ndarray):
            is_picture = value.ndim == 3 and value.nbytes > _PICTURE_BYTES
            changes[field.name] = (
                np.broadcast_to(np.zeros((), value.dtype), value.shape)
                if is_picture
                else value.copy()
            )
    return replace(frame, **changes)
