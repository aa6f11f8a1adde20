"""Real model sets on rendered drives, once; and the trial of one against another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_perception.bench._bad_models import bad_bundle
from edge_perception.bench._decision_trials import TrialResult
from edge_perception.core.types import DetectedObject, Feature, Geometry
from edge_perception.encoders import EncoderOutput, encoders, source_defaults
from edge_perception.encoders.serving import Sample
from edge_perception.fusion.config import DecisionConfig, FusionConfig, SourceConfig
from edge_perception.fusion.cycle import cycle_of
from edge_perception.fusion.hybrid import fuse_cycle
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import ModelOptions, open_bundle
from edge_perception.models.manifest import Bundle
from edge_perception.releases.behaviour import Decisions
from edge_perception.releases.candidate import SHADOW, CandidateTrial
from edge_perception.releases.slo import Slo
from edge_perception.releases.trial import Action, Comparison, Trial
from edge_perception.simulation.generate import simulate_sequence
from edge_perception.simulation.scenario import random_scenario

LOCATING = ("camera", "lidar")
ROLES = (*LOCATING, "fusion")
FIRST_SEED = 3_000_000  # apart from training, thresholds and evaluation
RATE_HZ = 10.0
_ANY = 1e6  # slower by so much stops nothing


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image and the sweep before it, with where the sensors sit."""

    data: Mapping[str, Any]
    geometry: Mapping[str, Geometry]


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What a set made of one pair."""

    encoders: Mapping[str, Sample]
    objects: Sequence[DetectedObject]  # fused


def render(seed: int, frames: int) -> list[Pair]:
    """Render a drive of camera and LiDAR."""
    scenario = replace(random_scenario(seed), sensors=LOCATING, outages=())
    by_sensor: dict[str, list[Any]] = {name: [] for name in LOCATING}
    for sample in simulate_sequence(scenario, seed, frames / RATE_HZ):
        by_sensor[sample.sensor].append(sample)
    pairs = []
    for sweep, image in zip(by_sensor["lidar"], by_sensor["camera"], strict=True):
        height, width = image.data.bgr.shape[:2]
        pairs.append(
            Pair(
                data={"camera": image.data, "lidar": sweep.data},
                geometry={
                    "camera": Geometry(
                        T_base_sensor=image.frame.T_base_camera,
                        pose_source="parameter",
                        intrinsics=image.data.intrinsics,
                        image_size=(width, height),
                    ),
                    "lidar": Geometry(
                        T_base_sensor=sweep.frame.T_base_lidar, pose_source="parameter"
                    ),
                },
            )
        )
    return pairs


class WholeSet:
    """Encoders and fusion of a set, as the nodes run them."""

    def __init__(self, bundles: Mapping[str, Bundle]) -> None:
        self.bundles = bundles
        self._loaded = {
            role: open_bundle(bundles[role], ModelOptions(model=role)) for role in ROLES
        }
        self._encoders = {
            role: encoders()[role].make_encoder(bundles[role].manifest, self._loaded[role].backend)
            for role in LOCATING
        }
        self._fusion = BundleFusionModel(self._loaded["fusion"])
        sources = tuple(SourceConfig(**source_defaults(name)) for name in LOCATING)
        self._config = FusionConfig(sources=sources, decision=DecisionConfig())

    def __enter__(self) -> WholeSet:
        return self

    def __exit__(self, *_: object) -> None:
        for loaded in self._loaded.values():
            loaded.backend.close()

    def decide(self, pair: Pair) -> Decided:
        """Run the set on a pair."""
        samples, features = {}, {}
        for role in LOCATING:
            began_s = time.monotonic()
            output = self._encode(role, pair)
            took_s = time.monotonic() - began_s
            samples[role] = Sample(outputs={}, output=output, inference_s=took_s)
            features[role] = self._feature(role, pair, output)
        view = fuse_cycle(cycle_of(self._config, features, models=(self._fusion,)))
        kept = {
            role: replace(sample, output=replace(sample.output, tensors={}))
            for role, sample in samples.items()
        }
        return Decided(encoders=kept, objects=view.objects)

    def _encode(self, role: str, pair: Pair) -> EncoderOutput:
        encoder, data, geometry = self._encoders[role], pair.data[role], pair.geometry[role]
        output = encoder.postprocess(
            encoder.infer(encoder.preprocess(data, geometry)), data, geometry
        )
        # Backends may hand out the same buffers again.
        return replace(output, tensors={n: np.array(t) for n, t in output.tensors.items()})

    def _feature(self, role: str, pair: Pair, output: EncoderOutput) -> Feature:
        return Feature(
            stamp_ns=pair.data[role].stamp_ns,
            frame_id="base_link",
            source=role,
            modality=role,
            model=self._loaded[role].bundle.version_for(role),
            sequence=0,
            geometry=pair.geometry[role],
            tensors=output.tensors,
            objects=output.objects,
            image_objects=output.image_objects,
        )


def bad_set(bundles: Mapping[str, Bundle], folder: Path, kind: str) -> dict[str, Bundle]:
    """Write a set that is wrong in one way, in all its heads."""
    return {
        role: bad_bundle(bundles[role], folder / kind / role, kind, changes={"version": "99.0.0"})
        for role in ROLES
    }


def to_and_fro(count: int, *, first: int = 0) -> Iterator[int]:
    """Yield indices of a drive that is played to its end and back, without end."""
    order = [*range(count), *range(count - 2, 0, -1)] or [0]
    while True:
        yield order[first % len(order)]
        first += 1


def try_set(
    candidate: WholeSet, pairs: Sequence[Pair], current: Sequence[Decided], slo: Slo
) -> TrialResult:
    """Let a set run in the shadow of another as nodes and manager do it, until it is decided.

    By its decisions alone: what else runs on the machine must stop no set here, good or bad.
    """
    gate, trials, counts = slo.trial.behaviour, {}, {}
    for role in ROLES:
        manifest = candidate.bundles[role].manifest
        counts[role] = CandidateTrial(manifest, same_space=False, stateful=False)
        counts[role].set_mode(SHADOW, 1.0)
        bar = gate.whole if role == "fusion" else gate.source
        comparison = Comparison(bar=bar, needs_objects=True)
        asked = replace(slo.trial.stricter(manifest.objectives), latency_increase=_ANY)
        trials[role] = Trial(asked, now_s=0.0, pairs=False, comparison=comparison)
    known: dict[int, Decided] = {}
    for frames, index in enumerate(to_and_fro(len(pairs)), 1):
        if index not in known:
            known[index] = candidate.decide(pairs[index])
        ours, theirs = known[index], current[index]
        for role in LOCATING:
            counts[role].compared(ours.encoders[role], theirs.encoders[role])
        counts["fusion"].samples += 1
        counts["fusion"].decided(Decisions(objects=ours.objects), Decisions(objects=theirs.objects))
        found = {
            role: trial.judge(counts[role].evidence(), frames / RATE_HZ)
            for role, trial in trials.items()
        }
        bad = [f"{r}: {d.reason}" for r, d in found.items() if d.action is Action.ROLL_BACK]
        if bad:
            return TrialResult(passed=False, frames=frames, reason="; ".join(bad))
        if all(decision.action is Action.ADVANCE for decision in found.values()):
            return TrialResult(passed=True, frames=frames, reason="")
    raise AssertionError("without end")
