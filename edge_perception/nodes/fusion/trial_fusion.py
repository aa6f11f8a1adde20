"""The set of a trial that does not serve, fused whole beside the one that does.

Encoders of another feature space hand over what the model that does not serve made of each frame.
These features get a fusion of their own: its states, its alignment, its deadlines, in a thread of
its own. A view of it is compared with the published view of the same frames.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection

from edge_perception.core.clock import Clock
from edge_perception.core.types import Feature, FusedView, FusionLevel
from edge_perception.encoders import sets_pace
from edge_perception.fusion.config import FusionConfig
from edge_perception.fusion.fusion import Fusion
from edge_perception.fusion.model import FusionModel
from edge_perception.fusion.one_set import Sets
from edge_perception.nodes.fusion.worker import FusionWorker
from edge_perception.releases.behaviour import Decisions
from edge_perception.releases.candidate import SHADOW, CandidateTrial

_WAITING = 40  # views that wait for their partner
Key = tuple[tuple[str, int], ...]  # source and stamp of the frames that a view is made of


class TrialFusion:
    """Fuses what does not serve, and compares views. Views come from two threads."""

    def __init__(
        self,
        *,
        config: FusionConfig,
        clock: Clock,
        models: tuple[FusionModel, ...],
        spaces: Collection[str],
        exclusive: Sets,
        trial: CandidateTrial,
        on_error: Callable[[Exception], None],
    ) -> None:
        """Start the thread.

        Args:
            config: of the fusion that serves.
            clock: the clocks.
            models: current and candidate; each takes the features of its space.
            spaces: feature spaces of the candidate.
            exclusive: spaces of each of the sets that never meet in one cycle.
            trial: takes what is compared.
            on_error: takes what is wrong with the machinery, not with the candidate.
        """
        self._spaces, self._trial = frozenset(spaces), trial
        self._lock = threading.Lock()
        self._served: OrderedDict[Key, FusedView] = OrderedDict()
        self._beside: OrderedDict[Key, FusedView] = OrderedDict()
        fusion = Fusion(config=config, now=clock.now())
        fusion.set_models(models, exclusive=exclusive)
        self._worker = FusionWorker(
            fusion=fusion, clock=clock, sink=self._on_beside, on_error=on_error
        )
        self._worker.start()

    def offer(self, feature: Feature) -> None:
        """Take a feature of the model that did not serve its frame; from any thread."""
        self._worker.offer(feature)

    def stop(self) -> None:
        """End the thread after the cycle in progress."""
        self._worker.stop()

    def on_view(self, view: FusedView) -> None:
        """Take a view that was published."""
        self._pair(view, self._served, self._beside)

    def _on_beside(self, view: FusedView) -> None:
        self._pair(view, self._beside, self._served)

    def _pair(
        self,
        view: FusedView,
        mine: OrderedDict[Key, FusedView],
        others: OrderedDict[Key, FusedView],
    ) -> None:
        key = _frames(view)
        if not key:
            return
        with self._lock:
            if mine is self._served and self._trial.mode == SHADOW:
                self._trial.comparable += 1
            other = others.pop(key, None)
            if other is None:
                mine[key] = view
                while len(mine) > _WAITING:
                    mine.popitem(last=False)
                return
            self._compare(view, other)

    def _compare(self, one: FusedView, other: FusedView) -> None:
        ours, theirs = (one, other) if self._is_candidate(one) else (other, one)
        if not self._is_candidate(ours) or self._is_candidate(theirs):
            return
        if ours.level is not FusionLevel.FEATURE and theirs.level is FusionLevel.FEATURE:
            self._trial.fail(f"no fused features: {ours.level_reason}")
            return
        if self._trial.mode == SHADOW:
            self._trial.samples += 1
        self._trial.decided(Decisions(objects=ours.objects), Decisions(objects=theirs.objects))

    def _is_candidate(self, view: FusedView) -> bool:
        return any(model.feature_space in self._spaces for model in view.models)


def _frames(view: FusedView) -> Key:
    return tuple(
        (status.source, status.stamp_ns)
        for status in sorted(view.sources, key=lambda item: item.source)
        if status.contributed and sets_pace(status.modality)
    )
