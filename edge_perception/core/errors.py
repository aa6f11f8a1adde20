"""The one tree of errors.

Messages say what, where, expected and got, for example
``camera_front: input 'images' expects (1, 3, 416, 416) float32, got (1, 3, 640, 640)``.
"""

from __future__ import annotations

from typing import Any


class EdgePerceptionError(Exception):
    """Base of every error this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let errors reach another process whatever their `__init__` takes."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[EdgePerceptionError], args: Any, attributes: Any) -> EdgePerceptionError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class ConfigurationError(EdgePerceptionError):
    """A parameter, scenario or configuration file is wrong."""


class UnknownNameError(ConfigurationError):
    """A name that must be one of a known set is not; the text lists the set."""

    def __init__(self, *, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"unknown {kind} '{name}'; known: {', '.join(sorted(known)) or 'none'}")


class InvalidFrameError(EdgePerceptionError):
    """A sensor message cannot be used; the frame is refused and counted."""


class UncalibratedError(InvalidFrameError):
    """A frame cannot be used without a calibration; who takes those knows why there is none."""


class TransformError(EdgePerceptionError):
    """A transform cannot be used, or two frames have none between them."""


class RestartedStreamError(InvalidFrameError):
    """A driver started anew, so one frame of its stream is refused; nothing is wrong with it."""


class ModelError(EdgePerceptionError):
    """Base of what can be wrong with a model or its bundle."""


class ManifestError(ModelError):
    """A manifest breaks its schema; the text names the field."""


class BundleError(ModelError):
    """Files of a bundle are missing, truncated or do not match their manifest."""


class DeviceKeyError(BundleError):
    """A sealed bundle is not opened: this machine has no device key, or another one."""


class BackendError(ModelError):
    """An inference runtime cannot load or run a model."""


class SwapError(ModelError):
    """A model change was asked for at the wrong time or in the wrong order."""


class InvalidOutputError(ModelError):
    """A model returned NaN, Inf or another shape than its manifest says."""


class SignatureError(ModelError):
    """A bundle is not signed by whom this machine trusts, is expired or older than what it has."""


class ClockNotSetError(SignatureError):
    """Whether a bundle has expired cannot be told: the clock says a year before there was any."""


class StoreError(ModelError):
    """The store on disk cannot be read or written, or is held by another manager."""


class AdmissionError(ModelError):
    """A candidate would not fit, did not start in time, or is slower or larger than it says."""


class TrialError(ModelError):
    """A candidate failed beside or in place of the running model."""


class FleetError(EdgePerceptionError):
    """Base of what can go wrong between a robot and its fleet."""


class LinkError(FleetError):
    """The other side cannot be reached, or the link broke: to be tried again."""


class ForbiddenError(LinkError):
    """A store does not let us read or write something, or does not say that it is not there."""


class NoRoomError(LinkError):
    """What is to be fetched has no room on this disk: to be tried again, once there is."""


class RegistryError(FleetError):
    """A registry says what it must not: not signed, expired, older, mixed, too long or damaged."""
