"""Watching of one source: a monitor for the model that serves, made anew when another one does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_perception.core.conditions import NOT_KNOWN, Conditions
from edge_perception.core.errors import EdgePerceptionError
from edge_perception.core.types import Feature, Geometry
from edge_perception.models.loading import DRIFT_REFERENCE, LoadedModel
from edge_perception.monitoring.drift.detector import (
    DRIFT_NOT_KNOWN,
    NO_REFERENCE,
    QuantityFigure,
)
from edge_perception.monitoring.drift.reference import Reference, parse_reference, read_reference
from edge_perception.monitoring.source import MonitorOptions, SourceMonitor

if TYPE_CHECKING:
    from edge_perception.encoders import EncoderSpec


class SourceWatch:
    """Watches the frames of one source; `see` is called by its inference thread."""

    def __init__(self, source: str, spec: EncoderSpec, options: MonitorOptions | None) -> None:
        """Start with the first frame.

        Args:
            source: its name.
            spec: its modality.
            options: what is watched; None: nothing.
        """
        self._source, self._spec, self._options = source, spec, options
        self._statistics = spec.statistics() if spec.statistics is not None else None
        self._monitor: SourceMonitor | None = None
        self._model_sha256 = ""

    @property
    def conditions(self) -> Conditions:
        """As this source sees them."""
        return self._monitor.conditions if self._monitor is not None else NOT_KNOWN

    def see(self, frame: Any, geometry: Geometry, feature: Feature, serving: LoadedModel) -> bool:
        """Look at a frame and its feature; False: it was not its turn.

        Args:
            frame: of the modality.
            geometry: where the sensor sits.
            feature: what became of the frame.
            serving: the model that serves now; the feature of a trial or variant is of another one.
        """
        if self._options is None:
            return False
        if self._monitor is None or self._model_sha256 != serving.bundle.sha256:
            self._model_sha256 = serving.bundle.sha256
            self._monitor = self._made(self._options, serving)
        if not self._monitor.wants(feature.stamp_ns):
            return False
        # What a trial, a variant or an earlier frame gave is not what the reference is of; the
        # weather is the same.
        own = feature.model.sha256 == self._model_sha256 and not feature.inferred_stamp_ns
        self._monitor.see(frame, geometry, feature, own=own)
        return True

    def _made(self, options: MonitorOptions, serving: LoadedModel) -> SourceMonitor:
        reference, why_none = reference_of(serving, options.drift_reference)
        made = SourceMonitor(
            self._source, self._statistics, options, reference=reference, why_none=why_none
        )
        if self._monitor is not None:
            made.go_on_from(self._monitor)
        return made

    def describe(self) -> dict[str, str]:
        """Return what diagnostics say: values by name."""
        if self._options is None:
            return {}
        if self._monitor is None:
            return {"conditions": NOT_KNOWN.text, "drift": f"{DRIFT_NOT_KNOWN}: no frame yet"}
        return self._monitor.describe()

    def figures(self) -> tuple[QuantityFigure, ...]:
        """Return what the reference and the window hold of each quantity; without frames none."""
        return self._monitor.figures() if self._monitor is not None else ()

    def history(self) -> tuple[str, ...]:
        """Return the drift that was said of the serving model, over or not, a line each."""
        return self._monitor.history() if self._monitor is not None else ()

    def findings(self) -> tuple[str, ...]:
        """Return the drift that is to be said, a line each."""
        return self._monitor.findings() if self._monitor is not None else ()


def reference_of(serving: LoadedModel, path: str) -> tuple[Reference | None, str]:
    """Return the reference for a model; with None, why there is none.

    Args:
        serving: the model.
        path: of the reference; empty: the bundle's own.
    """
    bundle = serving.bundle
    try:
        if path:
            found = read_reference(Path(path).expanduser())
        elif DRIFT_REFERENCE in bundle.manifest.files:
            found = parse_reference(bundle.read(DRIFT_REFERENCE), DRIFT_REFERENCE)
        else:
            return None, NO_REFERENCE
    except EdgePerceptionError as error:
        return None, str(error)
    model_sha256 = bundle.manifest.files[bundle.manifest.model].sha256
    if found.model_sha256 != model_sha256:
        return None, (
            f"the reference is of {found.model} {found.model_sha256[:12]}, "
            f"{bundle.manifest.name} {model_sha256[:12]} runs"
        )
    return found, ""
