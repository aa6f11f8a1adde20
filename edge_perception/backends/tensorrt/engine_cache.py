"""Engines and timings on disk, each bound to all that it was made for."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from edge_perception.core.errors import BackendError

_MAGIC = b"edge_perception tensorrt 1\n"
_DIGEST_BYTES = 32


class CachedFile:
    """One file; what is cut short, altered or made for something else is as if it were not there.

    A file is no proof of where it came from: the folder must be writable only by who may choose
    what runs.
    """

    def __init__(self, folder: Path, model: bytes, kind: str, *made_for: str) -> None:
        """Read nothing yet.

        Args:
            folder: where it lies.
            model: the graph as it was given, whose digest is part of the name and the key.
            kind: suffix of the file.
            made_for: versions, GPU, driver and options that it holds for.
        """
        digest = hashlib.sha256(model).hexdigest()
        self._key = "\n".join((digest, *made_for)).encode()
        name = f"{digest[:12]}-{hashlib.sha256(self._key).hexdigest()[:16]}.{kind}"
        self._path = folder / name

    def read(self) -> bytes:
        """Return what it holds; empty: nothing that can be used."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return b""
        start = len(_MAGIC) + _DIGEST_BYTES
        content = data[start:]
        return content if data[:start] == _MAGIC + self._digest(content) else b""

    def write(self, content: bytes) -> None:
        """Replace it as a whole, so that another process never reads a part.

        Raises:
            BackendError: the folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".engine-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_MAGIC + self._digest(content) + content)
                os.replace(name, self._path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise BackendError(f"compile_cache {self._path.parent}: {error.strerror}") from error

    def _digest(self, content: bytes) -> bytes:
        """Of the content and of what it holds for: a renamed file is found out too."""
        return hashlib.sha256(self._key + b"\0" + content).digest()
