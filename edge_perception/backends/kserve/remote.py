"""What a transport of the protocol does for a session, and how its failures are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from numpy.typing import NDArray

from edge_perception.backends.contract import TensorInfo
from edge_perception.core.errors import BackendError


class RemoteError(BackendError):
    """The server did not answer in time, or cannot serve now: trying again may help."""


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """What a server says of a model."""

    server: str  # name and version
    version: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Sharing(Protocol):
    """What a transport says of shared memory."""

    @property
    def used(self) -> bool:
        """Whether the last frame lay in it."""
        ...

    @property
    def note(self) -> str:
        """Why it is not used although it was asked for; empty: it is, or was not."""
        ...


class Remote(Protocol):
    """One model on one server. Not thread-safe: one inference thread uses it."""

    @property
    def answered(self) -> str:
        """Version that the last answer of `infer` says it is of; empty: it does not say."""
        ...

    @property
    def sent(self) -> int:
        """Bytes of the question of the last `infer` as it went over the link, without headers."""
        ...

    @property
    def received(self) -> int:
        """Bytes of its answer."""
        ...

    @property
    def shared(self) -> Sharing:
        """Tensors in memory that the server maps too."""
        ...

    def metadata(self, timeout_s: float) -> ModelMetadata:
        """Ask for the signature.

        Raises:
            RemoteError: no answer in time, or the model is not ready.
            BackendError: the server does not have the model, or answers nonsense.
        """
        ...

    def stated(self, timeout_s: float) -> dict[str, str]:
        """Ask what the server states of the model by name: release, feature space and the like.

        From the model's metadata, else from its configuration where the server tells it.

        Raises:
            RemoteError: no answer in time, or the model is not ready.
            BackendError: the server does not have the model, or answers nonsense.
        """
        ...

    def infer(
        self, inputs: Mapping[str, NDArray], outputs: tuple[TensorInfo, ...], timeout_s: float
    ) -> dict[str, NDArray]:
        """Run the model, all within the time.

        Raises:
            RemoteError: no answer in time, or the server cannot serve now.
            BackendError: the server refuses the request, or answers nonsense.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
