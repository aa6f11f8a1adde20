"""What can be wrong with a serialised message."""

from edge_perception.core.errors import EdgePerceptionError, InvalidFrameError


class CdrError(InvalidFrameError):
    """The buffer is truncated or contradicts its message type; the frame is refused."""


class UnsupportedCdrError(EdgePerceptionError):
    """A type or an encoding that is not read here; the typed message is the way to it."""
