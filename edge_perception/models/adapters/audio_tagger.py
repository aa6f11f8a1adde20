"""Audio taggers: class scores of a window become sound events.

An event takes the highest score of its labels. Windows overlap, so a real sound shows in several
of them in a row: an event starts once its score reached `threshold` in `confirm_windows`
consecutive windows and goes on until the score falls below `release`. Sounds that last, such as
sirens, can be told by `mean_windows` instead: what counts then is the mean of the log-odds over the
newest windows, so that a meow or a note that is like a siren for half a second is none. That state
belongs to one stream; it is forgotten when the stream was interrupted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.core.errors import InvalidOutputError, ManifestError
from edge_perception.core.parameter import parameter
from edge_perception.core.schema import decode
from edge_perception.core.types import SoundEvent
from edge_perception.models.adapters import AdapterSpec, Decisions
from edge_perception.models.adapters._tagger_graph import recognise
from edge_perception.models.manifest import Manifest

# Of one window, so that a single one that is sure cannot outweigh several that are not.
_MOST_LOG_ODDS = 3.0
_LEAST_SHARE = 0.25  # of `mean_windows`, before the mean of a stream that just began counts


@dataclass(frozen=True, kw_only=True)
class EventRule:
    """When one event is reported."""

    labels: tuple[str, ...]  # of the manifest; the highest score counts
    threshold: float = parameter(0.5, low=0.0, high=1.0)
    # Score below which a running event ends; none: the threshold.
    release: float | None = parameter(None, low=0.0, high=1.0)
    # Windows over which the mean of the log-odds is taken; `threshold`, `release` and the reported
    # score are then of that mean, scores must be probabilities, and in the place of
    # `confirm_windows` a quarter of the windows must be there. 1: each window for itself.
    mean_windows: int = parameter(1, low=1, high=100)

    @property
    def least_windows(self) -> int:
        """How many windows the mean must be of before it counts."""
        return math.ceil(_LEAST_SHARE * self.mean_windows)


@dataclass(frozen=True, kw_only=True)
class TaggerOptions:
    """The `postprocessing` of the manifest."""

    scores: str  # graph output of shape (…, labels); leading dimensions are patches, best counts
    activation: str = parameter("none", choices=("none", "sigmoid", "softmax"))
    events: Mapping[str, EventRule]
    confirm_windows: int = parameter(1, low=1, high=100)


@dataclass(frozen=True, kw_only=True)
class SoundContext:
    """What the decoder must know of a window."""

    window_start_ns: int
    window_end_ns: int
    segment: int  # changes when the stream was interrupted


class SoundDecoder:
    """Reports the events of one stream, window by window."""

    def __init__(self, manifest: Manifest) -> None:
        where = f"{manifest.name}: manifest.postprocessing"
        self._options = decode(TaggerOptions, manifest.postprocessing, where, error=ManifestError)
        _check_scores(manifest, self._options.scores, where)
        self._columns = {
            name: _columns(manifest.labels, rule, f"{where}.events.{name}")
            for name, rule in self._options.events.items()
        }
        self._labels = len(manifest.labels)
        self._segment: int | None = None
        self._runs: dict[str, int] = {}  # consecutive windows above the threshold
        self._active: set[str] = set()
        self._log_odds: dict[str, deque[float]] = {}  # the newest windows, where a rule wants them

    def __call__(self, outputs: Mapping[str, NDArray], context: Any) -> Decisions:
        """Decode one window; `context` is a SoundContext.

        Raises:
            InvalidOutputError: the scores are missing or have another length than the labels.
        """
        if context.segment != self._segment:
            self._segment = context.segment
            self._runs, self._active = dict.fromkeys(self._columns, 0), set()
            self._log_odds = {
                name: deque(maxlen=rule.mean_windows)
                for name, rule in self._options.events.items()
                if rule.mean_windows > 1
            }
        scores = self.event_scores(outputs)
        scores |= {name: self._mean(name, scores[name]) for name in self._log_odds}
        for name, score in scores.items():
            self._update(name, score)
        return Decisions(
            sound_events=tuple(
                SoundEvent(
                    class_name=name,
                    score=score,
                    window_start_ns=context.window_start_ns,
                    window_end_ns=context.window_end_ns,
                )
                for name, score in scores.items()
                if name in self._active
            )
        )

    def event_scores(self, outputs: Mapping[str, NDArray]) -> dict[str, float]:
        """Return every event's score of this window, reported or not; changes no state."""
        raw = outputs.get(self._options.scores)
        if raw is None or raw.shape[-1] != self._labels:
            got = sorted(outputs) if raw is None else raw.shape
            raise InvalidOutputError(
                f"output '{self._options.scores}' expects {self._labels} scores, got {got}"
            )
        rows = _activate(raw.reshape(-1, self._labels).astype(np.float32), self._options.activation)
        best = rows.max(axis=0)
        return {name: float(best[columns].max()) for name, columns in self._columns.items()}

    def _mean(self, name: str, score: float) -> float:
        """Take one window's score; return that of the newest windows together."""
        kept = self._log_odds[name]
        kept.append(log_odds(score))
        return 1.0 / (1.0 + math.exp(-sum(kept) / len(kept)))

    def _update(self, name: str, score: float) -> None:
        rule = self._options.events[name]
        release = rule.threshold if rule.release is None else rule.release
        self._runs[name] = self._runs[name] + 1 if score >= rule.threshold else 0
        if name in self._log_odds:  # the mean is of several windows already
            starts = self._runs[name] > 0 and len(self._log_odds[name]) >= rule.least_windows
        else:
            starts = self._runs[name] >= self._options.confirm_windows
        if starts:
            self._active.add(name)
        elif score < release:
            self._active.discard(name)


def log_odds(score: float) -> float:
    """Return the log-odds of a probability as the mean over windows takes them: cut at 3 and -3."""
    if not 0.0 < score < 1.0:
        return math.copysign(_MOST_LOG_ODDS, score - 0.5)
    odds = math.log(score) - math.log1p(-score)
    return min(max(odds, -_MOST_LOG_ODDS), _MOST_LOG_ODDS)


def _activate(rows: NDArray[np.float32], activation: str) -> NDArray[np.float32]:
    if activation == "sigmoid":
        return np.float32(1.0) / (np.float32(1.0) + np.exp(-np.clip(rows, -80.0, 80.0)))
    if activation == "softmax":
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    return rows


def _check_scores(manifest: Manifest, output: str, where: str) -> None:
    shapes = {spec.name: spec.shape for spec in manifest.outputs}
    if output not in shapes:
        raise ManifestError(f"{where}.scores: expected one of {sorted(shapes)}, got '{output}'")
    if shapes[output][-1:] != (len(manifest.labels),):
        raise ManifestError(
            f"{manifest.name}: manifest.labels: expected a label for each score of '{output}' "
            f"{shapes[output]}, got {len(manifest.labels)} labels"
        )


def _columns(labels: tuple[str, ...], rule: EventRule, where: str) -> list[int]:
    unknown = [label for label in rule.labels if label not in labels]
    if unknown or not rule.labels:
        raise ManifestError(
            f"{where}.labels: expected labels of the manifest, got {unknown or 'none'}"
        )
    if rule.release is not None and rule.release > rule.threshold:
        raise ManifestError(
            f"{where}.release: expected at most the threshold {rule.threshold:g}, "
            f"got {rule.release:g}"
        )
    return [labels.index(label) for label in rule.labels]


SPEC = AdapterSpec(
    name="audio_tagger", roles=("audio",), make_decoder=SoundDecoder, recognise=recognise
)
