"""Models whose runs are timed, and which can run again on frames of a while ago.

What a replay's throughput is measured against are the models in a loop: frame, preprocessing,
inference and postprocessing, one after the other, and nothing else.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from numpy.typing import NDArray

from edge_perception.backends import Backend, BackendInfo
from edge_perception.backends.device_program import DeviceProgram, run_program
from edge_perception.core.types import Feature
from edge_perception.fusion.model import FusionOutput
from edge_perception.models.fusion_model import BundleFusionModel
from edge_perception.models.loading import LoadedModel

# So many frames of a source are kept for the loop: distinct ones, as in a recording, and old
# enough to have left the caches that the newest frame would be found in.
LOOP_FRAMES = 4


class MeteredBackend:
    """Passes everything on to another backend and notes how long inference takes."""

    def __init__(
        self,
        backend: Backend,
        *,
        is_shared: bool = False,
        on_run: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._backend = backend
        self._closed = is_shared  # others go on with it
        self._on_run = on_run
        self.seconds = 0.0

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model."""
        started = time.perf_counter()
        outputs = self._backend.infer(inputs)
        took_s = time.perf_counter() - started
        self.seconds += took_s
        self._on_run(took_s)
        return outputs

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors."""
        self._backend.warm_up(runs)

    def run_program(self, program: DeviceProgram) -> None:
        """Let the other backend make an input on its device."""
        run_program(self._backend, program)

    def describe(self) -> BackendInfo:
        """Return what is really running."""
        return self._backend.describe()

    def close(self) -> None:
        """Release the session; a pipeline closes a model that it has replaced by itself."""
        if not self._closed:
            self._closed = True
            self._backend.close()


@dataclass(kw_only=True)
class LoopTimes:
    """Runs of one model in the loop, s."""

    inference_s: float = 0.0
    work_s: float = 0.0  # the same with pre- and postprocessing
    runs: int = 0

    def scaled(self, frames: int) -> tuple[float, float]:
        """Return inference and work of so many frames, s."""
        per_run = frames / self.runs if self.runs else 0.0
        return self.inference_s * per_run, self.work_s * per_run


class Looped(Protocol):
    """A model that can run again."""

    loop: LoopTimes

    def run_again(self, index: int) -> None:
        """Run on kept frame number `index`, the oldest first; a frame that is not kept: nothing."""
        ...


class MeteredFusionModel(BundleFusionModel):
    """A fusion model that can run again on earlier features, with its pre- and postprocessing."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__(loaded)
        assert isinstance(loaded.backend, MeteredBackend)
        self._metered = loaded.backend
        self._kept: deque[Mapping[str, Feature]] = deque(maxlen=LOOP_FRAMES)
        self.runs = 0
        self.loop = LoopTimes()

    def run(self, features: Mapping[str, Feature]) -> FusionOutput:
        """Fuse features by source."""
        self._kept.append(features)
        self.runs += 1
        return super().run(features)

    def run_again(self, index: int) -> None:
        """Fuse kept features once more; call it while nothing else runs."""
        if index >= len(self._kept):
            return
        started, inferred_s = time.perf_counter(), self._metered.seconds
        super().run(self._kept[index])
        self.loop.work_s += time.perf_counter() - started
        self.loop.inference_s += self._metered.seconds - inferred_s
        self.loop.runs += 1


def metered(
    loaded: LoadedModel,
    *,
    is_shared: bool = False,
    on_run: Callable[[float], None] = lambda _: None,
) -> LoadedModel:
    """Return a loaded model whose runs are metered.

    Args:
        loaded: the model.
        is_shared: it stays loaded when what is returned is closed.
        on_run: called with the time of each run, s.
    """
    return replace(
        loaded, backend=MeteredBackend(loaded.backend, is_shared=is_shared, on_run=on_run)
    )


def run_loop(models: Iterable[Looped]) -> float:
    """Run the models in a loop over the kept frames; return how long that took, s."""
    started = time.perf_counter()
    looped = list(models)
    for index in range(LOOP_FRAMES):
        for model in looped:
            model.run_again(index)
    return time.perf_counter() - started
