"""Requests to a node's model services: signed by the manager, checked by the node."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_perception.core.errors import SignatureError
from edge_perception.models.loading import ModelOptions
from edge_perception.releases.managed import ManagedStore
from edge_perception.releases.requests import PUBLIC_NAME, RequestGate, read_public
from edge_perception.releases.verifying import signatures_required


def sign_request(managed: ManagedStore, service: str, request: Any) -> Any:
    """Return the request with its token; without trusted keys there is none to give."""
    request.token = managed.token(service, _fields(request))
    return request


class TokenGate:
    """Lets requests through that the manager signed, where the node asks for signatures."""

    def __init__(self, node_name: str, options: Callable[[], ModelOptions]) -> None:
        self._name, self._options = node_name, options
        self._gate = RequestGate(time.monotonic_ns)

    def check(self, service: str, request: Any) -> None:
        """Refuse a request that is not the manager's.

        Raises:
            SignatureError: why.
            ConfigurationError: signatures are asked for, and there is nothing to check them with.
        """
        options = self._options()
        if not signatures_required(options.trust_file, options.require_signed):
            return
        name = f"{self._name}/{service}"
        self._gate.check(
            read_public(_public_key(name, options)),
            name,
            _fields(request),
            request.token,
            now_ns=time.time_ns(),  # not /clock, which who plays a recording moves
        )


def _public_key(name: str, options: ModelOptions) -> Path:
    if options.manager_key:
        return Path(options.manager_key).expanduser()
    if not options.model_store:
        raise SignatureError(
            f"{name}: signatures are asked for, so only the model manager is answered; set "
            "model_store or manager_key, where its public key is"
        )
    return Path(options.model_store).expanduser() / PUBLIC_NAME


def _fields(request: Any) -> dict[str, object]:
    """Return the fields of a request but its token, as they are after the way over the wire."""
    fields: dict[str, object] = {}
    for name, kind in request.get_fields_and_field_types().items():
        value = getattr(request, name)
        if name == "token":
            continue
        if kind == "float":
            value = struct.unpack("f", struct.pack("f", value))[0]
        elif kind == "builtin_interfaces/Time":
            value = {"sec": value.sec, "nanosec": value.nanosec}
        fields[name] = value
    return fields
