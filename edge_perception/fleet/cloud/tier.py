"""One server: agreed on what it serves, asked within its budget, left alone while it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_perception.backends.contract import BackendInfo, TensorInfo
from edge_perception.backends.kserve.breaker import Breaker, BreakerLimits
from edge_perception.backends.kserve.remote import ModelMetadata, Remote
from edge_perception.backends.kserve.session import check_signature, open_remote
from edge_perception.core.errors import EdgePerceptionError, FleetError
from edge_perception.core.latency import LatencyWindow
from edge_perception.core.types import Geometry
from edge_perception.encoders import EncoderOutput, EncoderSpec
from edge_perception.fleet.cloud.budget import HourBudget
from edge_perception.fleet.cloud.options import AUTO, TRUE, TierOptions
from edge_perception.models.manifest import Bundle, TensorSpec
from edge_perception.models.triton_repository import stated_by

_AGREED_S = 60.0  # then the server is asked again what it serves
_AGREE_S = 2.0  # least time for that: no frame depends on it alone
_REFUSED_S = 30.0  # a server that serves something else is left alone for so long
_NEEDED = ("bundle", "release", "feature_space")
_OVERHEAD_BYTES = 1000  # headers of a question and its answer


class TierError(FleetError):
    """A server gave no answer; `kind` is what is counted."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class _MissingOutputError(Exception):
    """The decisions need an output that was not asked for."""


class Tier:
    """One server. One thread asks; any may look at its state.

    Args:
        options: where it is, and its limits.
        spec: modality of the frames.
        bundle: what the server must serve; None: what serves on the robot.
        steady_s: steady clock.
        compressed: questions and answers are, unless the options of the server say otherwise.
    """

    def __init__(
        self,
        options: TierOptions,
        spec: EncoderSpec,
        bundle: Bundle | None,
        *,
        steady_s: Callable[[], float],
        compressed: bool = False,
    ) -> None:
        self.options, self._spec, self._fixed = options, spec, bundle
        self._steady_s = steady_s
        self._compressed = options.gzip == TRUE or (compressed and options.gzip == AUTO)
        self.breaker = Breaker(BreakerLimits(failures=options.failures, open_s=options.open_s))
        self.budget = HourBudget(options.mb_per_hour * 1e6)
        self.answers = self.failures = 0
        self.took_s = LatencyWindow()
        self.problem = ""  # why the last question had no answer; empty: it had
        self._refused_until_s = 0.0
        self._agreed_until_s = 0.0
        self._size = 0  # of the last question and answer, bytes
        self._admitted = False  # the question in progress fits into the budget
        self._bundle: Bundle | None = None  # that is asked for now
        self._remote: Remote | None = None
        self._metadata: ModelMetadata | None = None
        self._session: _Session | None = None
        self._encoder: Any = None

    @property
    def name(self) -> str:
        """As configured."""
        return self.options.name

    def bundle_for(self, serving: Bundle) -> Bundle:
        """Return what the server must serve while `serving` does on the robot."""
        return self._fixed or serving

    def why_not(self) -> str:
        """Return why it would not be asked now, as it is counted; empty: it would."""
        now_s = self._steady_s()
        if now_s < self._refused_until_s:
            return "refused"
        if not self.breaker.allows(now_s):
            return "breaker"
        return "" if self.budget.fits(self._size, now_s) else "budget"

    def ask(self, frame: Any, geometry: Geometry, serving: Bundle) -> EncoderOutput:
        """Ask about a frame.

        Args:
            frame: of the modality, without what must not leave.
            geometry: of the sensor.
            serving: what serves on the robot.

        Raises:
            TierError: there is no answer; the reason is in `problem`, too.
        """
        began_s = self._steady_s()
        try:
            output = self._asked(frame, geometry, serving)
        except TierError as error:
            self.problem = str(error)
            if error.kind == "refused":
                self._refused_until_s = self._steady_s() + _REFUSED_S
            raise
        except EdgePerceptionError as error:
            self.problem = str(error)
            self.failures += 1
            self._agreed_until_s = 0.0  # whoever comes back may be another
            self.breaker.failed(self._steady_s())
            raise TierError("failed", str(error)) from error
        self.breaker.succeeded()
        self.problem = ""
        self.answers += 1
        self.took_s.add(self._steady_s() - began_s)
        return output

    def close(self) -> None:
        """Close the connection."""
        remote, self._remote, self._bundle = self._remote, None, None
        if remote is not None:
            remote.close()

    def state(self) -> str:
        """Return how it stands, for people."""
        now_s, options = self._steady_s(), self.options
        why = self.why_not()
        if why in ("breaker", "refused"):
            text = f"breaker open: {self.problem}" if why == "breaker" else self.problem
        elif not self.breaker.closed:
            text = f"half open: {self.problem}"
        elif why == "budget":
            text = "budget used up"
        else:
            text = "serves" if self.answers else "not asked yet"
            text = f"{text}, last question failed: {self.problem}" if self.problem else text
        used = self.budget.used(now_s) / 1e6
        p95_ms = self.took_s.percentile(95)[0] * 1e3
        return (
            f"{text}; {used:.1f} of {options.mb_per_hour:g} MB in the last hour; {self.answers} "
            f"answers, {self.failures} failures; p95 {p95_ms:.0f} of {options.deadline_ms:g} ms"
        )

    def _asked(self, frame: Any, geometry: Geometry, serving: Bundle) -> EncoderOutput:
        bundle = self.bundle_for(serving)
        self._same_space(bundle, serving)
        self._follow(bundle)
        assert self._session is not None
        assert self._remote is not None
        inputs = self._encoder.preprocess(frame, geometry)
        self._agree(bundle)
        self._admitted = False
        try:
            outputs = self._encoder.infer(inputs)
        finally:
            if self._admitted:
                self._size = self._remote.sent + self._remote.received + _OVERHEAD_BYTES
                self.budget.spend(self._size, self._steady_s())
        self._same_version()
        read = _Read(outputs, self._session.asked)
        try:
            output: EncoderOutput = self._encoder.postprocess(read, frame, geometry)
        except _MissingOutputError as error:
            self._session.learn(None)
            raise TierError("failed", f"{self.name}: output {error} is needed, too") from error
        self._session.learn(read.names)
        return output

    def _same_space(self, bundle: Bundle, serving: Bundle) -> None:
        theirs, ours = bundle.manifest, serving.manifest
        alike = theirs.feature_space == ours.feature_space
        if not ours.feature_space:  # of none: only the same release is known to mean the same
            alike = bundle.sha256 == serving.sha256
        if not alike:
            raise TierError(
                "refused",
                f"{self.name}: bundle {_told(stated_by(bundle))} is of another feature space than "
                f"{_told(stated_by(serving))}, which serves here",
            )

    def _follow(self, bundle: Bundle) -> None:
        """Turn to another bundle where the robot did."""
        if self._bundle is not None and self._bundle.sha256 == bundle.sha256:
            return
        self.close()
        name = self.options.model or bundle.manifest.name
        self._remote = open_remote(
            self.options.url,
            name,
            self.options.version,
            compressed=self._compressed,
            admit=self._admit,
        )
        self._session = _Session(self._remote, bundle, self.options.deadline_ms / 1e3)
        self._encoder = self._spec.make_encoder(bundle.manifest, self._session)
        # What a server gives as features is of no use here: only what decides is asked for.
        self._encoder.features = lambda _outputs: {}
        self._bundle, self._agreed_until_s = bundle, 0.0

    def _admit(self, sent: int) -> None:
        """Refuse a question that with its answer does not fit into the budget."""
        assert self._session is not None
        whole = sent + self._session.answer_bytes + _OVERHEAD_BYTES
        if not self.budget.fits(whole, self._steady_s()):
            raise TierError("budget", f"{self.name}: {whole / 1e6:.1f} MB are over the budget")
        self._admitted = True

    def _agree(self, bundle: Bundle) -> None:
        """Hold what the server states against what it must serve."""
        if self._steady_s() < self._agreed_until_s:
            return
        assert self._remote is not None
        limit_s = max(self.options.deadline_ms / 1e3, _AGREE_S)
        self._metadata = self._remote.metadata(limit_s)
        stated = self._remote.stated(limit_s)
        self.budget.spend(3 * _OVERHEAD_BYTES, self._steady_s())
        wanted = stated_by(bundle)
        names = [*_NEEDED, *(name for name in ("sha256",) if name in stated)]
        if any(stated.get(name) != wanted[name] for name in names):
            raise TierError(
                "refused",
                f"{self.name}: {self.options.url} states {_told(stated)}, expected {_told(wanted)}",
            )
        manifest = bundle.manifest
        for kind, ours, theirs in (
            ("input", manifest.inputs, self._metadata.inputs),
            ("output", manifest.outputs, self._metadata.outputs),
        ):
            check_signature(self.name, kind, [_info(spec) for spec in ours], theirs)
        self._agreed_until_s = self._steady_s() + _AGREED_S

    def _same_version(self) -> None:
        """Refuse an answer of another version than the one that was agreed on."""
        assert self._remote is not None
        assert self._metadata is not None
        answered, agreed = self._remote.answered, self._metadata.version
        if answered and agreed and answered != agreed:
            self._agreed_until_s = 0.0
            raise TierError(
                "refused",
                f"{self.name}: the answer is of version {answered} on the server, agreed on "
                f"{agreed}",
            )


class _Session:
    """What an encoder takes for a runtime: the server, asked for the outputs that decide."""

    def __init__(self, remote: Remote, bundle: Bundle, deadline_s: float) -> None:
        self._remote, self._bundle, self._deadline_s = remote, bundle, deadline_s
        self._outputs = {spec.name: _info(spec) for spec in bundle.manifest.outputs}
        self.asked = frozenset(self._outputs)

    @property
    def answer_bytes(self) -> int:
        """Bytes of an answer that is not compressed, as far as its shapes are known."""
        return sum(
            int(np.prod(info.shape)) * np.dtype(info.dtype).itemsize
            for name, info in self._outputs.items()
            if name in self.asked and min(info.shape, default=1) > 0
        )

    def learn(self, names: frozenset[str] | None) -> None:
        """Ask for these outputs from now on; None: for all."""
        self.asked = frozenset(self._outputs) if names is None else names

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Ask the server; outputs that were not asked for are zeros."""
        wanted = tuple(info for name, info in self._outputs.items() if name in self.asked)
        outputs = self._remote.infer(inputs, wanted, self._deadline_s)
        given = {name: array for name, array in outputs.items() if name in self.asked}
        for name, info in self._outputs.items():
            if name not in self.asked:
                given[name] = np.zeros(info.shape, info.dtype)
        return given

    def warm_up(self, runs: int) -> None:
        """Do nothing: a server is warm or not."""

    def describe(self) -> BackendInfo:
        """Return what runs."""
        return BackendInfo(
            runtime="kserve",
            runtime_version="",
            provider="",
            inputs=tuple(_info(spec) for spec in self._bundle.manifest.inputs),
            outputs=tuple(self._outputs.values()),
        )

    def close(self) -> None:
        """Do nothing: the tier closes the connection."""


class _Read(Mapping[str, NDArray]):
    """Outputs that note which of them are read; one that was not asked for cannot be."""

    def __init__(self, outputs: Mapping[str, NDArray], asked: frozenset[str]) -> None:
        self._outputs, self._asked = outputs, asked
        self._names: set[str] = set()

    @property
    def names(self) -> frozenset[str]:
        """What was read."""
        return frozenset(self._names)

    def __getitem__(self, name: str) -> NDArray:
        if name in self._outputs and name not in self._asked:
            raise _MissingOutputError(name)
        self._names.add(name)
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)


def _info(spec: TensorSpec) -> TensorInfo:
    return TensorInfo(name=spec.name, dtype=spec.dtype, shape=tuple(spec.shape))


def _told(stated: Mapping[str, str]) -> str:
    """Return what is stated of a model, for people."""
    name, release = stated.get("bundle", "no bundle"), stated.get("release", "no release")
    space, sha256 = stated.get("feature_space"), stated.get("sha256", "")
    said = "no feature space" if space is None else f"feature space '{space}'"
    return f"{name} {release}, {said}" + (f", {sha256[:12]}" if sha256 else "")


def make_tiers(
    options: Sequence[TierOptions],
    spec: EncoderSpec,
    find: Callable[[str], Bundle],
    *,
    steady_s: Callable[[], float],
    compressed: bool = False,
) -> tuple[Tier, ...]:
    """Return the servers; `find` gives the bundle of a name, verified as any other."""
    return tuple(
        Tier(
            each,
            spec,
            find(each.bundle) if each.bundle else None,
            steady_s=steady_s,
            compressed=compressed,
        )
        for each in options
    )
