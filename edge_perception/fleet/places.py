"""Where a registry lies: a folder, an HTTP server or an object store, through one library."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from edge_perception.core.errors import ConfigurationError, ForbiddenError, LinkError, RegistryError
from edge_perception.core.extras import extra
from edge_perception.releases.filesystem import FileLock

_TIMEOUT_S = 20
_LOCK_WAIT_S = 10.0


class Place(Protocol):
    """Files by path. What is not there is a FileNotFoundError, a broken link a LinkError."""

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield a file in parts."""

    def read_if_changed(self, path: str, etag: str, most_bytes: int) -> tuple[bytes, str] | None:
        """Return a file and its ETag; None: it still has the ETag given."""


class StoredPlace(Place, Protocol):
    """A place that can be written, too."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file, or over an old one."""

    def has(self, path: str) -> bool:
        """Whether a file is there."""

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""

    def names(self, prefix: str) -> list[str]:
        """Return the paths of all files below a prefix."""


def read(place: Place, path: str, most_bytes: int) -> bytes:
    """Return a file that must not be longer than so many bytes.

    Raises:
        RegistryError: it is, or it has no end.
    """
    return bounded(place.stream(path), path, most_bytes)


def bounded(parts: Iterator[bytes], path: str, most_bytes: int) -> bytes:
    """Return the parts of a file as one, and stop reading where it is too long."""
    data = bytearray()
    for part in parts:
        data += part
        if len(data) > most_bytes:
            raise RegistryError(f"{path}: expected at most {most_bytes} bytes, got more")
    return bytes(data)


class ObjectPlace:
    """A URL of obstore: file://, http(s)://, s3://, gs://, az://; a plain path is a folder.

    Credentials of object stores come from the environment variables of their own tools.
    """

    def __init__(self, url: str) -> None:
        with extra("fleet"):
            import obstore
            from obstore.exceptions import (
                AlreadyExistsError,
                BaseError,
                NotModifiedError,
                PermissionDeniedError,
                UnauthenticatedError,
            )
            from obstore.store import from_url
        self._obstore = obstore
        self._exists, self._not_modified, self._error = (
            AlreadyExistsError,
            NotModifiedError,
            BaseError,
        )
        self._forbidden = (PermissionDeniedError, UnauthenticatedError)
        self.folder: Path | None = None
        if "://" not in url:
            self.folder = Path(url).expanduser().absolute()
            url = self.folder.as_uri()
        elif url.startswith("file://"):
            self.folder = Path(url.removeprefix("file://"))
        options: dict[str, Any] = {}
        if self.folder is not None:
            options["mkdir"] = True
        else:
            options["client_options"] = {"timeout": f"{_TIMEOUT_S}s", "allow_http": True}
            options["retry_config"] = {
                "max_retries": 1,
                "retry_timeout": timedelta(seconds=_TIMEOUT_S),
            }
        try:
            self._store: Any = from_url(url, **options)
        except (BaseError, ValueError) as error:
            raise ConfigurationError(
                f"{url}: expected a folder or a URL: {_short(error)}"
            ) from None
        self.url = url

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield a file in parts."""
        try:
            for part in self._obstore.get(self._store, path):
                yield bytes(part)
        except self._error as error:
            raise self._broken(path, error) from None

    def read_if_changed(self, path: str, etag: str, most_bytes: int) -> tuple[bytes, str] | None:
        """Return a file and its ETag; None: it still has the ETag given."""
        try:
            got = self._obstore.get(
                self._store, path, options={"if_none_match": etag} if etag else {}
            )
            new = got.meta.get("e_tag") or ""
            return bounded((bytes(part) for part in got), path, most_bytes), new
        except self._not_modified:
            return None
        except self._error as error:
            raise self._broken(path, error) from None

    def write(self, path: str, data: bytes) -> None:
        """Write a file, or over an old one."""
        try:
            self._obstore.put(self._store, path, data)
        except self._error as error:
            raise self._broken(path, error) from None

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        try:
            self._obstore.head(self._store, path)
        except FileNotFoundError:
            return False
        except self._error as error:
            raise self._broken(path, error) from None
        return True

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""
        try:
            self._obstore.delete(self._store, path)
        except FileNotFoundError:
            return
        except self._error as error:
            raise self._broken(path, error) from None

    def names(self, prefix: str) -> list[str]:
        """Return the paths of all files below a prefix."""
        try:
            return sorted(
                item["path"] for page in self._obstore.list(self._store, prefix) for item in page
            )
        except self._error as error:
            raise self._broken(prefix, error) from None

    def replace(self, path: str, data: bytes, etag: str) -> None:
        """Write a file only where it still has an ETag; empty: only where there is none.

        Raises:
            RegistryError: somebody else wrote it meanwhile.
        """
        taken = RegistryError(f"{self.url}: somebody else published meanwhile; do it again")
        try:
            if self.folder is not None:  # a folder has no conditional write
                lock = FileLock(self.folder / ".publish.lock")
                if not lock.acquire(wait_s=_LOCK_WAIT_S):
                    raise RegistryError(f"{self.url}: process {lock.holder()} is publishing")
                try:
                    if self._etag(path) != etag:
                        raise taken
                    self._obstore.put(self._store, path, data)
                finally:
                    lock.release()
            elif etag:
                self._obstore.put(self._store, path, data, mode={"e_tag": etag})
            else:
                self._obstore.put(self._store, path, data, mode="create")
        except self._exists:
            raise taken from None
        except self._error as error:
            if "Precondition" in type(error).__name__:
                raise taken from None
            raise self._broken(path, error) from None

    def _etag(self, path: str) -> str:
        try:
            return str(self._obstore.head(self._store, path)["e_tag"] or "")
        except FileNotFoundError:
            return ""

    def _broken(self, path: str, error: Exception) -> LinkError:
        kind = ForbiddenError if isinstance(error, self._forbidden) else LinkError
        return kind(f"{self.url}: {path}: {_short(error)}")


class Below:
    """A folder of a place."""

    def __init__(self, place: StoredPlace, folder: str) -> None:
        self._place, self._folder = place, folder.strip("/")

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield a file in parts."""
        return self._place.stream(self._at(path))

    def read_if_changed(self, path: str, etag: str, most_bytes: int) -> tuple[bytes, str] | None:
        """Return a file and its ETag; None: it still has the ETag given."""
        return self._place.read_if_changed(self._at(path), etag, most_bytes)

    def write(self, path: str, data: bytes) -> None:
        """Write a file, or over an old one."""
        self._place.write(self._at(path), data)

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        return self._place.has(self._at(path))

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no error."""
        self._place.remove(self._at(path))

    def _at(self, path: str) -> str:
        return f"{self._folder}/{path}"


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
