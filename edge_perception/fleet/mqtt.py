"""The link to a broker: MQTT 5, TLS with certificates of both sides; one client of paho."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from edge_perception.core.errors import ConfigurationError, LinkError
from edge_perception.core.extras import extra

TELEMETRY, ANSWERS = "telemetry", "taken"  # last part of a robot's topics
_ROOT = "edge_perception/fleet"
_MOST_QUEUED = 64


@dataclass(frozen=True, kw_only=True)
class BrokerOptions:
    """Which broker, and who we are to it."""

    url: str  # mqtts://HOST:PORT or mqtt://HOST:PORT
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


def check_broker(options: BrokerOptions) -> SplitResult:
    """Return the parts of a broker's address; there need be none yet.

    Raises:
        ConfigurationError: no broker can be meant.
    """
    parts = urlsplit(options.url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ConfigurationError(
            f"broker: expected mqtt://HOST:PORT or mqtts://HOST:PORT, got '{options.url}'"
        )
    return parts


def topic(device: str, what: str) -> str:
    """Return a topic of a robot."""
    return f"{_ROOT}/{device}/{what}"


def device_of(name: str) -> str:
    """Return the robot of a topic; a broker with an access list lets no other write there."""
    return name.removeprefix(f"{_ROOT}/").split("/")[0]


class Broker:
    """Connects in a thread of its own, again after every break, and never blocks who sends."""

    def __init__(
        self,
        options: BrokerOptions,
        *,
        name: str,
        subscribe: str,
        on_message: Callable[[str, bytes], None],
        on_break: Callable[[], None] = lambda: None,
    ) -> None:
        """Start.

        Args:
            options: of the broker.
            name: of this client, unique at the broker.
            subscribe: topic to listen to, once connected.
            on_message: takes topic and payload; the client's thread.
            on_break: the connection broke; the client's thread.
        """
        with extra("fleet"):
            import paho.mqtt.client as paho
        parts = check_broker(options)
        self._paho, self.connected, self.problem = paho, False, "not connected yet"
        self._client: Any = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=f"{name}-{secrets.token_hex(4)}",
            protocol=paho.MQTTv5,
        )
        if parts.scheme == "mqtts":
            try:
                self._client.tls_set(
                    ca_certs=options.ca_file or None,
                    certfile=options.cert_file or None,
                    keyfile=options.key_file or None,
                )
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"broker: certificates: {error}") from error
        if parts.username:
            self._client.username_pw_set(parts.username, parts.password)
        self._client.max_inflight_messages_set(_MOST_QUEUED)
        self._client.max_queued_messages_set(_MOST_QUEUED)
        self._client.reconnect_delay_set(1, 60)

        def connected(client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            self.connected = not reason.is_failure
            self.problem = str(reason) if reason.is_failure else ""
            if self.connected:
                client.subscribe(subscribe, qos=1)

        def broke(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            self.connected, self.problem = False, str(reason)
            on_break()

        def failed(_client: Any, _data: Any) -> None:
            # Called while it is handled: paho keeps to itself why, such as a certificate.
            if (error := sys.exc_info()[1]) is not None:
                self.problem = str(error)

        self._client.on_connect, self._client.on_disconnect = connected, broke
        self._client.on_connect_fail = failed
        self._client.on_message = lambda _c, _d, message: on_message(message.topic, message.payload)
        self._client.connect_async(
            parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883), keepalive=30
        )
        self._client.loop_start()

    def send(self, name: str, payload: bytes) -> None:
        """Hand a payload over.

        Raises:
            LinkError: there is no connection, or too much is waiting.
        """
        if not self.connected:
            raise LinkError(f"broker: {self.problem}")
        info = self._client.publish(name, payload, qos=1)
        if info.rc != self._paho.MQTT_ERR_SUCCESS:
            raise LinkError(f"broker: {self._paho.error_string(info.rc)}")

    def close(self) -> None:
        """End; safe more than once."""
        self._client.disconnect()
        self._client.loop_stop()
        self.connected = False
