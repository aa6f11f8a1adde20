"""What a candidate costs: mAP on labelled frames, agreement of decisions on others, by slice.

A loss (`verdicts`) is of the model that the candidate was made of, on the same frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends import Backend
from edge_perception.core.conditions import LIGHTS
from edge_perception.core.errors import ConfigurationError, EdgePerceptionError
from edge_perception.core.types import Feature, Geometry
from edge_perception.encoders import encoders
from edge_perception.encoders.checked_model import check_outputs
from edge_perception.evaluation.frames import FIRST_SEED, Truth, load_frame, simulator_digest
from edge_perception.evaluation.matching import Judged, ap_table
from edge_perception.evaluation.recorded import RecordedFrames, judge_features
from edge_perception.evaluation.rig import ModelSet, Rig
from edge_perception.models.manifest import Bundle
from edge_perception.optimize.bag_frames import BagFrame, FrameStore, light_copy
from edge_perception.optimize.verdicts import (
    POINTS,
    Verdict,
    drawn,
    failed,
    gated_loss,
    paired_error,
    share_error,
)
from edge_perception.releases.behaviour import match, match_images

ALL = "all"
LEAST_DECISIONS = 20  # fewer tell nothing
_LEAST_OBJECTS = 30  # of a slice that is told
FUSED = "fused"


class Judge(Protocol):
    """Says what a candidate costs."""

    what: str  # the measure, for people
    about: str  # what its verdicts depend on beside the candidate and the frames' names
    frames: int

    def judge(self, session: Backend) -> Verdict:
        """Run a candidate on all frames."""
        ...


class AgreementJudge:
    """Decisions of a candidate against those of the model it was made of, on the same frames.

    The share of decisions of both that have a partner of the same class (`releases.behaviour`
    pairs them as on trial); the loss is what is missing of all of them.
    """

    what = "agreement of decisions"

    def __init__(self, bundle: Bundle, frames: Sequence[BagFrame]) -> None:
        """Take the frames.

        Raises:
            ConfigurationError: the model decides too little on them to be compared.
        """
        self._bundle, self._frames = bundle, list(frames)
        self.about = bundle.sha256
        self.frames = len(self._frames)
        decided = sum(_count(frame.output) for frame in self._frames)
        if decided < LEAST_DECISIONS:
            raise ConfigurationError(
                f"{bundle.manifest.name} decides {decided} times on {self.frames} frames, expected "
                f"{LEAST_DECISIONS} or more: recordings with more of what it looks for"
            )

    def judge(self, session: Backend) -> Verdict:
        """Run a candidate on all frames."""
        manifest = self._bundle.manifest
        encoder = encoders()[manifest.role].make_encoder(manifest, session)
        frames: dict[str, list[tuple[float, float]]] = defaultdict(list)
        try:
            for frame in self._frames:
                outputs = session.infer(frame.inputs)
                check_outputs(outputs, manifest)
                decided = encoder.postprocess(outputs, frame.frame, frame.geometry)
                for name, counted in _by_slice(decided, frame).items():
                    frames[name].append(counted)
        except EdgePerceptionError as error:
            return failed(error)
        counts = {name: np.sum(counted, axis=0) for name, counted in frames.items()}
        losses = {
            name: float(POINTS * (1 - paired / total))
            for name, (paired, total) in counts.items()
            if total >= LEAST_DECISIONS
        }
        losses.setdefault(ALL, POINTS)
        errors = {
            name: share_error(frames[name]) for name in losses if name == ALL or name in LIGHTS
        }
        loss, spread = gated_loss(losses, errors, (ALL,))
        return Verdict(
            loss=loss, base=POINTS, score=POINTS - losses[ALL], slices=losses, error=spread,
            errors=errors,
        )  # fmt: skip


def _by_slice(decided: Any, frame: BagFrame) -> dict[str, tuple[float, float]]:
    """Return decisions with a partner, and all, of one frame by slice."""
    counts: dict[str, NDArray] = defaultdict(lambda: np.zeros(2))
    for name, paired, total in agreed(decided, frame.output):
        for key in (name,) if name != ALL else (ALL, *frame.tags):
            counts[key] += (paired, total)
    return {name: (float(paired), float(total)) for name, (paired, total) in counts.items()}


def agreed(ours: Any, theirs: Any) -> Iterator[tuple[str, float, float]]:
    """Yield slice, decisions with a partner, and all decisions: of everything, then by class."""
    for mine, others, pair in (
        (ours.objects, theirs.objects, match),
        (ours.image_objects, theirs.image_objects, match_images),
    ):
        same = [(i, j) for i, j in pair(mine, others) if mine[i].class_name == others[j].class_name]
        yield ALL, 2.0 * len(same), float(len(mine) + len(others))
        for name in {item.class_name for item in (*mine, *others)}:
            paired = sum(others[j].class_name == name for _, j in same)
            total = sum(item.class_name == name for item in (*mine, *others))
            yield name, 2.0 * paired, float(total)
    heard, expected = ({e.class_name for e in o.sound_events} for o in (ours, theirs))
    yield ALL, 2.0 * len(heard & expected), float(len(heard) + len(expected))


def _count(output: Any) -> int:
    return len(output.objects) + len(output.image_objects) + len(output.sound_events)


@dataclass(frozen=True, kw_only=True)
class _Labelled:
    """A labelled frame, prepared for the role that is judged."""

    inputs: Mapping[str, NDArray]
    data: Any
    geometry: Geometry
    others: Mapping[str, Feature]
    truth: Truth
    camera: Geometry
    tags: tuple[str, ...]


class LabelledJudge:
    """mAP of the set with a candidate in it: of its sensor alone, and fused."""

    what = "mAP"

    def __init__(self, models: ModelSet, role: str, store: FrameStore) -> None:
        """Prepare.

        Args:
            models: the set, with the model before in its role.
            role: camera or lidar.
            store: keeps the inputs of frames.
        """
        self._rig, self._role, self._store = Rig(models), role, store
        self.about = " ".join(models.bundle(r).sha256 for r in ("camera", "lidar", "fusion"))
        self._manifest = models.bundle(role).manifest
        self._frames: list[_Labelled] = []
        self._base: dict[str, float] | None = None
        self._base_draws: dict[str, NDArray[np.float64]] = {}
        self._subsets = (role, "camera+lidar")
        self._base_model = models.bundle(role)

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self._frames)

    def add_recorded(
        self, recording: RecordedFrames, most: int, used: Collection[int] = ()
    ) -> None:
        """Take labelled frames of a recording, evenly over it.

        Args:
            recording: with labels.
            most: so many at most.
            used: stamps of frames that were calibrated or trained with; they are left out.
        """
        before = len(self._frames)
        for frame in recording.some(2 * most if used else most):
            own = frame.image if self._role == "camera" else frame.cloud
            if own.stamp_ns in used:
                continue
            if len(self._frames) - before == most:
                break
            self._add(frame, (), frame.image, frame.cloud)

    def add_simulated(self, count: int, cache: Any, *, skip: int = 0) -> None:
        """Take simulated frames that nothing was trained or tuned on, all but the first `skip`."""
        self.about += f" simulated by {simulator_digest()} from {skip}"
        for seed in range(FIRST_SEED + skip, FIRST_SEED + skip + count):
            frame = load_frame(seed, cache, delays_ms=())
            self._add(frame, (frame.light,), frame.images[0], frame.cloud)

    def _add(self, frame: Any, tags: tuple[str, ...], image: Any, cloud: Any) -> None:
        given = {"camera": (image, frame.camera), "lidar": (cloud, frame.lidar)}
        data, geometry = given[self._role]
        inputs = self._rig.prepared(self._role, data, geometry)
        others = {
            role: self._rig.feature(role, *pair)
            for role, pair in given.items()
            if role != self._role
        }
        kept = self._store.keep(inputs)
        self._frames.append(
            _Labelled(
                inputs=kept, data=light_copy(data), geometry=geometry, others=others,
                truth=frame.truth, camera=frame.camera, tags=tags,
            )
        )  # fmt: skip

    def judge(self, session: Backend) -> Verdict:
        """Run a candidate on all frames."""
        if self._base is None:
            from edge_perception.models.loading import ModelOptions, open_bundle

            loaded = open_bundle(self._base_model, ModelOptions(model=self._role))
            try:
                self._base, frames = self._scores(loaded.backend)
            finally:
                loaded.backend.close()
            self._base_draws = {name: drawn(parts) for name, parts in frames.items()}
        base = self._base
        try:
            scores, frames = self._scores(session)
        except EdgePerceptionError as error:
            return failed(error)
        losses = {name: base[name] - scores[name] for name in base}
        errors = {n: paired_error(self._base_draws[n], drawn(p)) for n, p in frames.items()}
        loss, spread = gated_loss(losses, errors, (self._role, FUSED))
        return Verdict(
            loss=loss, base=base[FUSED], score=scores[FUSED], slices=losses, error=spread,
            errors=errors,
        )  # fmt: skip

    def _scores(self, session: Backend) -> tuple[dict[str, float], dict[str, list[Judged]]]:
        """Return mAP in points (alone, fused, by light, class and distance), and by frame."""
        parts: dict[tuple[str, str], list[tuple[tuple[str, ...], Judged]]] = defaultdict(list)
        for frame in self._frames:
            outputs = session.infer(frame.inputs)
            check_outputs(outputs, self._manifest)
            made = self._rig.feature_of(self._role, outputs, frame.data, frame.geometry)
            features = {**frame.others, self._role: made}
            for key, judged in judge_features(
                self._rig, features, frame.truth, frame.camera, subsets=self._subsets
            ):
                parts[key].append((frame.tags, judged))
        alone = ap_table(Judged.joined([j for _, j in parts["decision", self._role]]))
        both = parts["feature", "camera+lidar"]
        fused = ap_table(Judged.joined([j for _, j in both]))
        found = {self._role: alone["map"], FUSED: fused["map"]}
        by_frame = {
            self._role: [j for _, j in parts["decision", self._role]],
            FUSED: [j for _, j in both],
        }
        for tag in sorted({tag for tags, _ in both for tag in tags}):
            table = ap_table(Judged.joined([j for tags, j in both if tag in tags]))
            if sum(table["objects"].values()) >= _LEAST_OBJECTS:
                found[f"{tag} {FUSED}"] = table["map"]
                by_frame[f"{tag} {FUSED}"] = [j for tags, j in both if tag in tags]
        for name, value in alone["ap"].items():
            if alone["objects"][name] >= _LEAST_OBJECTS:
                found[f"{name} {self._role}"] = value
        for band in next(iter(alone["ap_by_distance"].values()), {}):
            by_class = [table[band] for table in alone["ap_by_distance"].values()]
            if not np.all(np.isnan(by_class)):
                found[f"{band} {self._role}"] = float(np.nanmean(by_class))
        scores = {name: float(np.nan_to_num(POINTS * value)) for name, value in found.items()}
        return scores, by_frame

    def close(self) -> None:
        """Give the sessions back."""
        self._rig.close()


def with_role(models: ModelSet, bundle: Bundle) -> ModelSet:
    """Return a set with another bundle in its role.

    Raises:
        ConfigurationError: it is of another feature space.
    """
    role = bundle.manifest.role
    own = models.bundle(role).manifest
    if own.feature_space != bundle.manifest.feature_space:
        raise ConfigurationError(
            f"--models: expected a set of feature space {bundle.manifest.feature_space}, got "
            f"{own.feature_space}"
        )
    return replace(models, **{role: bundle})
