"""Optional parts: libraries that come with an extra of pip, imported only where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_perception.core.errors import ConfigurationError

DISTRIBUTION = "edge_perception"


class MissingExtraError(ConfigurationError):
    """A library of an optional part is not installed; the text says which extra brings it."""

    def __init__(self, extra: str, error: ImportError) -> None:
        super().__init__(f"{error}; pip install '{DISTRIBUTION}[{extra}]' brings what it needs")


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra is missing where an import inside fails.

    Args:
        name: the extra, as in `setup.cfg`.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(name, error) from error
