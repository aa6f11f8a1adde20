"""Adapters: how the raw outputs of a model family become decisions. A module exports SPEC.

A manifest names its adapter; its `postprocessing` holds the adapter's options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_perception.core.registry import Discovery, Registry
from edge_perception.core.types import DetectedObject, ImageObject, SoundEvent
from edge_perception.models.foreign import ForeignModel, Reading
from edge_perception.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What a model says by itself."""

    objects: tuple[DetectedObject, ...] = ()
    image_objects: tuple[ImageObject, ...] = ()
    sound_events: tuple[SoundEvent, ...] = ()


class Decoder(Protocol):
    """Turns raw outputs into decisions; made once a model, called once a frame."""

    def __call__(self, outputs: Mapping[str, NDArray], context: Any) -> Decisions:
        """Decode.

        Args:
            outputs: graph outputs by name.
            context: what the modality's preprocessing left for it (letterbox, window stamps, …).
        """
        ...


@dataclass(frozen=True, kw_only=True)
class AdapterSpec:
    """What an adapter module exports."""

    name: str
    roles: tuple[str, ...]
    make_decoder: Callable[[Manifest], Decoder]
    # Describes a foreign ONNX file as a manifest (without `files`); None: cannot import.
    describe: Callable[[Path], dict[str, Any]] | None = None
    # What a foreign ONNX file may be, with everything that is assumed of it; [] where it is of
    # another family. None: only `describe` says, and only when the adapter is named.
    recognise: Callable[[ForeignModel], Sequence[Reading]] | None = None
    # The usual spelling of a label that somebody gives with a file; None: as given.
    spelling: Callable[[str], str] | None = None


_DISCOVERY = Discovery(
    __name__,
    kind="adapter",
    group="adapters",
    spec_type=AdapterSpec,
    name_of=lambda spec: spec.name,
)


def adapters() -> Registry[AdapterSpec]:
    """All adapters that can be imported here, and why the others cannot."""
    return _DISCOVERY.registry()
