"""How python-tuf reads a place; imported only where the extra `fleet` is there."""

from __future__ import annotations

from collections.abc import Iterator

from edge_perception.core.errors import ForbiddenError
from edge_perception.core.extras import extra
from edge_perception.fleet.places import Place

with extra("fleet"):
    from tuf.api.exceptions import DownloadHTTPError
    from tuf.ngclient import FetcherInterface


class _PlaceFetcher(FetcherInterface):
    def __init__(self, place: Place) -> None:
        self._place = place

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._parts(url)

    def _parts(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._place.stream(url)
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{url}: not there", 404) from error
        except ForbiddenError as error:
            # S3 says so of what is not there to who may not list: of the next root, that is none.
            raise DownloadHTTPError(str(error), 403) from error


def fetcher(place: Place) -> FetcherInterface:
    """Return what reads a place for python-tuf."""
    return _PlaceFetcher(place)
