"""The key of this device, by which sealed bundles are opened: from a file, or from hardware.

`device_key` names it as PROVIDER:WHAT, for example `file:/etc/edge_perception/device.pem`; a text
without a provider is a file. A provider is a module here, in `device_keys/` of a plug-in folder, or
an entry point of the group `edge_perception.device_keys`: that of a PKCS#11 token or of a TPM does
the key agreement in the hardware, and the key never leaves it.

The key is that of the process, as plug-in folders are: a device has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_perception.core.errors import ConfigurationError, DeviceKeyError
from edge_perception.core.registry import Discovery, Registry
from edge_perception.models.sealed import DeviceKey


@dataclass(frozen=True, kw_only=True)
class KeyProvider:
    """What a provider exports as SPEC."""

    name: str
    open: Callable[[str], DeviceKey]  # what is behind the colon -> the key


_DISCOVERY = Discovery(
    __name__,
    kind="provider of device keys",
    group="device_keys",
    spec_type=KeyProvider,
    name_of=lambda spec: spec.name,
)
_named = ""
_key: DeviceKey | None = None


def key_providers() -> Registry[KeyProvider]:
    """All providers that can be imported here, and why the others cannot."""
    return _DISCOVERY.registry()


def use_device_key(text: str) -> None:
    """Open sealed bundles with this key from now on; an empty text changes nothing.

    Raises:
        ConfigurationError: no such provider, no such key, or this process has another one.
        UnknownNameError: no such provider.
    """
    global _named, _key
    if not text or text == _named:
        return
    if _named:
        raise ConfigurationError(f"device_key: this process has {_named} already, got {text}")
    provider, colon, what = text.partition(":")
    if not colon:
        provider, what = "file", text
    _key = key_providers()[provider].open(what)
    _named = text


def device_key_name() -> str:
    """Return how the key of this process was named, for a helper process; empty: none was."""
    return _named


def device_key(name: str) -> DeviceKey:
    """Return the key of this process.

    Args:
        name: of the file that is to be opened, for messages.

    Raises:
        DeviceKeyError: there is none.
    """
    if _key is None:
        raise DeviceKeyError(f"{name}: sealed for one device, and no device_key is given")
    return _key
