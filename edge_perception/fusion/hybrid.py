"""Feature level where a model and the features allow it, decision level otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_perception.core.errors import InvalidOutputError
from edge_perception.core.types import (
    DetectedObject,
    Feature,
    FusedView,
    FusionLevel,
    ModelVersion,
    SoundEvent,
)
from edge_perception.fusion.cycle import Cycle
from edge_perception.fusion.decision import decide
from edge_perception.fusion.finite import is_finite
from edge_perception.fusion.geometry import box_corners, image_rectangles
from edge_perception.fusion.model import FusionModel, FusionOutput
from edge_perception.fusion.motion import displaced
from edge_perception.fusion.view import view_of

NO_MODEL = "no fusion model is installed"


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """What came of the feature level."""

    reason: str  # why not, or why not for all sources; empty: all of it
    output: FusionOutput | None = None
    version: ModelVersion | None = None
    features: Mapping[str, Feature] | None = None  # the ones the model took


def fuse_cycle(cycle: Cycle) -> FusedView:
    """Fuse a closed cycle; depends on nothing else, so it needs no lock."""
    if cycle.motion:
        cycle = replace(cycle, features=displaced(cycle.features, cycle.motion), motion={})
    attempt = _feature_level(cycle)
    taken = attempt.features or {}
    rest = {name: feature for name, feature in cycle.features.items() if name not in taken}
    seeds = []
    if attempt.output is not None:
        seeds = _with_witnesses(attempt.output.objects, taken, _locating(cycle, taken))
    decision = decide(rest, cycle.config.decision, seeds=seeds, points_of=cycle.features)
    level = FusionLevel.DECISION if attempt.output is None else FusionLevel.FEATURE
    return view_of(
        cycle,
        objects=decision.objects,
        sound_events=_sound_events(cycle),
        models=_models(cycle, attempt),
        level=level if cycle.features else FusionLevel.NONE,
        level_reason="; ".join(filter(None, (attempt.reason, *decision.notes))),
    )


def _feature_level(cycle: Cycle) -> _Attempt:
    if not cycle.features:
        return _Attempt(reason="no source contributes")
    if not cycle.models:
        return _Attempt(reason=NO_MODEL)
    fitting = [(model, _sorted_out(cycle, model)) for model in cycle.models]
    model, (features, out) = max(fitting, key=lambda pair: len(pair[1][0]))  # the first of equals
    strangers = "; ".join(f"{name}: {why}" for name, why in out.items())
    if not _locating(cycle, features):
        return _Attempt(reason=strangers or "no source that locates objects contributes")
    version = model.version
    try:
        output = model.run(features)
        _check_finite(output, version)
    except Exception as error:  # a model is foreign code: whatever it raises, the decisions stand
        return _Attempt(reason=f"fusion model {version.name} {version.version} failed: {error}")
    return _Attempt(
        reason=strangers, output=output, version=output.version or version, features=features
    )


def _sorted_out(cycle: Cycle, model: FusionModel) -> tuple[dict[str, Feature], dict[str, str]]:
    """Return the features that a model takes, and why each of the others is left out."""
    taken: dict[str, Feature] = {}
    out: dict[str, str] = {}
    for name, feature in cycle.features.items():
        space = feature.model.feature_space
        if not space or space not in model.compatible:
            out[name] = f"feature space '{space}' is not one of the model's"
        elif why := model.misfit(feature):
            out[name] = why
        else:
            taken[name] = feature
    return taken, out


def _locating(cycle: Cycle, features: Mapping[str, Feature]) -> tuple[str, ...]:
    return tuple(
        source.source
        for source in cycle.config.sources
        if source.locates and source.source in features
    )


def _with_witnesses(
    objects: tuple[DetectedObject, ...], features: Mapping[str, Feature], locating: tuple[str, ...]
) -> list[tuple[DetectedObject, tuple[str, ...]]]:
    """Pair each object with the sources that could see it: no camera vouches for what is behind it.

    A model that names an object's sources itself is believed. What only cameras could have found
    and none of them frames is no object: it is the network's answer to cells that nobody looks
    into.
    """
    corners = box_corners(objects)
    framed = {
        name: image_rectangles(corners, features[name].geometry)[1] > 0.0
        for name in locating
        if features[name].geometry.intrinsics is not None
    }
    pairs = []
    for index, box in enumerate(objects):
        seen_by = tuple(name for name in locating if name not in framed or framed[name][index])
        if sources := box.sources or seen_by:
            pairs.append((box, sources))
    return pairs


def _check_finite(output: FusionOutput, version: ModelVersion) -> None:
    for box in output.objects:
        if not is_finite(box):
            raise InvalidOutputError(f"fusion model {version.name}: {box.class_name} is not finite")


def _sound_events(cycle: Cycle) -> tuple[SoundEvent, ...]:
    """Return the encoders' events that were not told before, each once."""
    unique = {
        (item.source, item.class_name, item.window_start_ns): item for item in cycle.sound_events
    }
    return tuple(unique.values())


def _models(cycle: Cycle, attempt: _Attempt) -> tuple[ModelVersion, ...]:
    versions = [feature.model for feature in cycle.features.values()]
    if attempt.version is not None:
        versions.append(attempt.version)
    return tuple(dict.fromkeys(versions))
