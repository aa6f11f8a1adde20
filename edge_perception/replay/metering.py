"""A backend that notes how long the bare model takes, and can run it again on its last inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from numpy.typing import NDArray

from edge_perception.backends import Backend, BackendInfo
from edge_perception.core.types import Feature
from edge_perception.fusion.model import FusionOutput
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import LoadedModel


class MeteredBackend:
    """Passes everything on to another backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._last: Mapping[str, NDArray] | None = None
        self._closed = False
        self.bare_runs = 0
        self.bare_s = 0.0

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model."""
        self._last = inputs
        return self._backend.infer(inputs)

    def run_bare(self, times: int) -> None:
        """Run the model alone on the inputs of its last frame; call it while nothing else runs."""
        if self._last is None:
            return
        started = time.perf_counter()
        for _ in range(times):
            self._backend.infer(self._last)
        self.bare_s += time.perf_counter() - started
        self.bare_runs += times

    @property
    def bare_run_s(self) -> float:
        """Time of one bare run; 0: never measured."""
        return self.bare_s / self.bare_runs if self.bare_runs else 0.0

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors."""
        self._backend.warm_up(runs)

    def describe(self) -> BackendInfo:
        """Return what is really running."""
        return self._backend.describe()

    def close(self) -> None:
        """Release the session; a pipeline closes a model that it has replaced by itself."""
        self._last = None
        if not self._closed:
            self._closed = True
            self._backend.close()


class MeteredFusionModel(BundleFusionModel):
    """A fusion model that can run again on its last features, with its pre- and postprocessing."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__(loaded)
        self._last: Mapping[str, Feature] | None = None
        self.runs = self.bare_runs = 0
        self.bare_s = 0.0

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse features by source."""
        self._last = features
        self.runs += 1
        return super().run(features)

    def run_bare(self) -> None:
        """Fuse the last features once more; call it while nothing else runs."""
        if self._last is None:
            return
        started = time.perf_counter()
        super().run(self._last)
        self.bare_s += time.perf_counter() - started
        self.bare_runs += 1

    @property
    def bare_run_s(self) -> float:
        """Time of one bare run; 0: never measured."""
        return self.bare_s / self.bare_runs if self.bare_runs else 0.0


def metered(loaded: LoadedModel) -> LoadedModel:
    """Return a loaded model whose runs are metered."""
    return replace(loaded, backend=MeteredBackend(loaded.backend))
