"""What an adapter decided, looked at before anybody uses it: an adapter may be anybody's code."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.bounds import MOST_DECISIONS, sendable
from edge_perception.core.errors import (
    EdgePerceptionError,
    InvalidFrameError,
    InvalidOutputError,
    ManifestError,
)
from edge_perception.core.types import DetectedObject, ImageObject, SoundEvent
from edge_perception.fusion.plausible import implausible_decisions
from edge_perception.models.adapters import Decisions, Decoder, adapters
from edge_perception.models.manifest import Manifest

_KINDS = {"objects": DetectedObject, "image_objects": ImageObject, "sound_events": SoundEvent}
_COVARIANCE = 10  # numbers
_MOST_TRACK_ID = 2**32 - 1


def decoder_of(manifest: Manifest) -> Decoder:
    """Return the decoder of a manifest's adapter.

    Raises:
        UnknownNameError: there is no such adapter.
        ManifestError: `postprocessing` of the manifest does not fit the model.
    """
    adapter = adapters()[manifest.adapter]
    try:
        return adapter.make_decoder(manifest)
    except EdgePerceptionError:
        raise
    except Exception as error:
        raise ManifestError(
            f"{manifest.name}: adapter {raised(manifest.adapter, error)}"
        ) from error


def decide(
    adapter: str, decoder: Decoder, outputs: Mapping[str, NDArray], context: Any
) -> Decisions:
    """Return the decisions of a frame.

    Raises:
        InvalidFrameError: the decoder says that the frame is to blame.
        InvalidOutputError: the decoder failed, whatever it raised, or what it gave cannot be used.
    """
    try:
        decisions = decoder(outputs, context)
    except (InvalidFrameError, InvalidOutputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also what `exit()` raises, or a panic in Rust
        raise InvalidOutputError(f"adapter {raised(adapter, error)}") from error
    for fault in _faults(decisions):
        raise InvalidOutputError(f"adapter '{adapter}': {fault}")
    return decisions


def raised(name: str, error: BaseException) -> str:
    """Name what somebody's code raised, and where."""
    (*_, last) = traceback.extract_tb(error.__traceback__) or [None]
    where = f" ({Path(last.filename).name}:{last.lineno})" if last is not None else ""
    return f"'{name}': {type(error).__name__}: {error}{where}"


def _faults(decisions: Any) -> Iterator[str]:
    """Name what is no decision, and then what cannot be true."""
    if not isinstance(decisions, Decisions):
        yield f"expected Decisions, got {type(decisions).__name__}"
        return
    for name, kind in _KINDS.items():
        items = getattr(decisions, name)
        if not isinstance(items, tuple | list):
            yield f"{name}: expected a tuple, got {type(items).__name__}"
        elif len(items) > MOST_DECISIONS[name]:
            yield f"{name}: expected at most {MOST_DECISIONS[name]}, got {len(items)}"
        elif strange := [item for item in items if not isinstance(item, kind)]:
            yield f"{name}: expected {kind.__name__}, got {type(strange[0]).__name__}"
    try:
        yield from _misshapen(decisions)
        fault = implausible_decisions(decisions)
    except (TypeError, ValueError, AttributeError) as error:
        fault = f"a value of another type than its field: {error}"
    if fault:
        yield fault


def _misshapen(decisions: Decisions) -> Iterator[str]:
    """Name what no message can hold."""
    for what, name in _texts(decisions):
        if not isinstance(name, str):
            yield f"{what}: expected text, got {name!r}"
        elif sendable(name) != name:
            yield f"{what}: expected text that UTF-8 can hold, got {name!r}"
    for what, number in _track_ids(decisions):
        if not (isinstance(number, int | np.integer) and 0 <= number <= _MOST_TRACK_ID):
            yield f"{what}: expected 0 (not tracked) to {_MOST_TRACK_ID}, got {number!r}"
    for box in decisions.objects:
        vectors = (len(box.center_m), len(box.size_m), len(box.velocity_mps))
        if vectors != (3, 3, 3) or len(box.covariance) not in (0, _COVARIANCE):
            yield (
                f"object '{box.class_name}': expected 3 numbers each of center_m, size_m and "
                f"velocity_mps, none or {_COVARIANCE} of covariance, got {vectors} and "
                f"{len(box.covariance)}"
            )


def _texts(decisions: Decisions) -> Iterator[tuple[str, Any]]:
    for items in (decisions.objects, decisions.image_objects, decisions.sound_events):
        yield from (("class_name", item.class_name) for item in items)
    for box in decisions.objects:
        yield "emergency_evidence", box.emergency_evidence
        yield from (("sources", source) for source in box.sources)
    for event in decisions.sound_events:
        yield from (("source", event.source), ("origin", event.origin))


def _track_ids(decisions: Decisions) -> Iterator[tuple[str, Any]]:
    yield from (("track_id", box.track_id) for box in decisions.objects)
    for event in decisions.sound_events:
        yield "track_id", event.track_id
        yield from (("candidates", name) for name, _ in event.candidates)
