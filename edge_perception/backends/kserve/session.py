"""A model on a server, with a deadline, a breaker, and the bundle's own file as the fall-back.

The robot never waits for the network: within the deadline there is an answer of the server, of the
local model, or an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from numpy.typing import NDArray

from edge_perception.backends.contract import (
    Backend,
    BackendInfo,
    BackendOptions,
    TensorInfo,
    as_the_graph,
)
from edge_perception.backends.kserve.breaker import Breaker, BreakerLimits
from edge_perception.backends.kserve.http import HttpRemote
from edge_perception.backends.kserve.options import KserveOptions, kserve_options
from edge_perception.backends.kserve.remote import ModelMetadata, Remote, RemoteError
from edge_perception.backends.tensors import check_inputs, check_outputs, warm_up
from edge_perception.core.errors import BackendError

_DEFAULT_URL = "http://127.0.0.1:8000"
_LOAD_TIMEOUT_S = 2.0
NONE = "none"


def load(path: Path, options: BackendOptions) -> KserveBackend:
    """Connect to a model.

    Args:
        path: the bundle's file: the fall-back, and what the server's signature is held against.
        options: `provider` is the address, `http://host:port` or `grpc://host:port`.

    Raises:
        BackendError: the address or an option is wrong, the server has another model of that name,
            or it does not answer, or answers nonsense, and there is no fall-back.
    """
    return KserveBackend(path, options)


def load_bytes(data: bytes, path: Path, options: BackendOptions) -> KserveBackend:
    """The same, with the bundle's file read already.

    Raises:
        BackendError: as `load`.
    """
    return KserveBackend(path, options, data)


class KserveBackend:
    """One remote model and the local one beside it."""

    def __init__(
        self,
        path: Path,
        options: BackendOptions,
        data: bytes | None = None,
        *,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._steady_s = path, steady_s
        self._options = kserve_options(options.provider_options)
        self._url = _address(options.provider)
        self._notes = as_the_graph(options.precision, "a server")
        if options.strict and self._notes:
            raise BackendError(f"{path.name}: strict_provider: {'; '.join(self._notes)}")
        self._breaker = Breaker(
            BreakerLimits(failures=self._options.failures, open_s=self._options.open_s)
        )
        model = self._options.model or path.parent.name
        self._remote = open_remote(
            self._url, model, self._options.version, shared_memory=self._options.shared_memory
        )
        self._local = _local(path, data, options, self._options)
        self._last_error = ""
        self._metadata: ModelMetadata | None = None
        try:
            self._metadata = self._remote.metadata(_LOAD_TIMEOUT_S)
        except BackendError as error:
            if self._local is None or options.strict:
                self.close()
                raise BackendError(f"{path.name}: {error}") from error
            self._note(error)
        try:
            self._info = self._describe(self._metadata)
        except BackendError:
            self.close()
            raise

    def describe(self) -> BackendInfo:
        """Return what runs now: the server, or the local model and why."""
        if self._breaker.closed and not self._last_error:
            shared = self._remote.shared
            provider = f"{self._info.provider}{', shared memory' if shared.used else ''}"
            notes = (shared.note,) if shared.note else ()
            return replace(self._info, provider=provider, notes=(*self._notes, *notes))
        local = self._local.describe() if self._local is not None else None
        return replace(
            self._info,
            provider=local.provider if local else self._info.provider,
            notes=(
                f"{self._url} does not serve, {self._last_error}",
                *(local.notes if local else ()),
            ),
        )

    def warm_up(self, runs: int) -> None:
        """Run on zero tensors, here and there."""
        if self._local is not None:
            self._local.warm_up(runs)
        warm_up(self.infer, self._info.inputs, runs)

    def infer(self, inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Run the model within the deadline, on the server or else here.

        Raises:
            BackendError: an input does not fit, the server refuses it, or neither side can run it.
        """
        check_inputs(self._path.name, self._info.inputs, inputs)
        end_s = self._steady_s() + self._options.deadline_ms / 1e3
        if self._breaker.allows(self._steady_s()):
            answer = self._ask(inputs, end_s)
            if answer is not None:
                return answer
        if self._local is None:
            raise BackendError(f"{self._path.name}: {self._last_error}")
        return self._local.infer(inputs)

    def close(self) -> None:
        """Close the connection and the local session."""
        self._remote.close()
        if self._local is not None:
            self._local.close()

    def _ask(self, inputs: Mapping[str, NDArray], end_s: float) -> dict[str, NDArray] | None:
        """Ask the server, again while time is left; None: it did not answer."""
        probing = not self._breaker.closed
        for attempt in range(1 if probing else 1 + self._options.retries):
            left_s = end_s - self._steady_s()
            if left_s <= 0:
                break
            # A try that is followed by another gets its share of the time, so that one can follow.
            share = 1 + self._options.retries - attempt if not probing else 1
            try:
                if probing or self._metadata is None:  # who answers may be another than before
                    self._meet(left_s / share)
                    left_s = max(end_s - self._steady_s(), 1e-3)
                outputs = self._remote.infer(inputs, self._info.outputs, left_s / share)
                check_outputs(self._info.outputs, outputs)
            except RemoteError as error:
                self._note(error)
                continue
            except BackendError as error:  # it answered, but with a refusal or with nonsense
                self._note(error)
                break
            self._breaker.succeeded()
            self._last_error = ""
            return outputs
        self._breaker.failed(self._steady_s())
        return None

    def _meet(self, timeout_s: float) -> None:
        """Hold what the server has now against the model.

        Raises:
            RemoteError: no answer in time.
            BackendError: it answers nonsense, or has another model of that name.
        """
        metadata = self._remote.metadata(timeout_s)
        self._info = self._describe(metadata)
        self._metadata = metadata

    def _note(self, error: Exception) -> None:
        self._last_error = str(error)

    def _describe(self, metadata: ModelMetadata | None) -> BackendInfo:
        local = self._local.describe() if self._local is not None else None
        if metadata is not None and local is not None:
            check_signature(self._path.name, "input", local.inputs, metadata.inputs)
            check_signature(self._path.name, "output", local.outputs, metadata.outputs)
        signature = local or metadata
        assert signature is not None
        return BackendInfo(
            runtime="kserve",
            runtime_version=metadata.server if metadata else "not reached",
            provider=f"{self._url} {self._options.model or self._path.parent.name}",
            inputs=signature.inputs,
            outputs=signature.outputs,
        )


def _address(provider: Sequence[str]) -> str:
    """Return the server of a session.

    Raises:
        BackendError: more are named: what serves where it does not is `kserve.fallback`.
    """
    if len(provider) > 1:
        raise BackendError(
            f"kserve: expected one server in provider, got {', '.join(provider)}; what runs while "
            "it does not serve is kserve.fallback"
        )
    return provider[0] if provider else _DEFAULT_URL


def open_remote(
    url: str,
    model: str,
    version: str = "",
    *,
    shared_memory: str = "false",
    compressed: bool = False,
    admit: Callable[[int], None] = lambda _: None,
) -> Remote:
    """Return a client of a model; nothing is sent yet.

    Args:
        url: of the server.
        model: its name there.
        version: its version there; empty: the newest.
        shared_memory: auto, true or false, see `KserveOptions`.
        compressed: questions and answers by gzip.
        admit: called with the bytes of each question before it is sent; may raise.

    Raises:
        BackendError: the address is none.
        MissingExtraError: gRPC is asked for, and not installed.
    """
    if url.startswith("grpc://"):
        from edge_perception.backends.kserve.grpc import GrpcRemote

        transport: type[GrpcRemote] | type[HttpRemote] = GrpcRemote
    else:
        transport = HttpRemote
    return transport(
        url, model, version, shared_memory=shared_memory, compressed=compressed, admit=admit
    )


def _local(
    path: Path, data: bytes | None, options: BackendOptions, chosen: KserveOptions
) -> Backend | None:
    if chosen.fallback == NONE:
        return None
    from edge_perception.backends import backends, load_model_bytes

    own = replace(options, provider=(), provider_options={}, strict=False)
    spec = backends()[chosen.fallback]
    return spec.load(path, own) if data is None else load_model_bytes(spec, data, path, own)


def check_signature(
    name: str, kind: str, ours: Sequence[TensorInfo], theirs: Sequence[TensorInfo]
) -> None:
    """Refuse a server whose model of that name has another signature.

    Raises:
        BackendError: a tensor of ours is missing there, or is another one.
    """
    found = {info.name: info for info in theirs}
    for info in ours:
        other = found.get(info.name)
        fits = other is not None and (
            other.dtype == info.dtype
            and len(other.shape) == len(info.shape)
            and all(a == b or -1 in (a, b) for a, b in zip(info.shape, other.shape, strict=True))
        )
        if not fits:
            got = f"{other.shape} {other.dtype}" if other else f"none of {sorted(found)}"
            raise BackendError(
                f"{name}: {kind} '{info.name}' expects {info.shape} {info.dtype}, "
                f"the server has {got}"
            )
