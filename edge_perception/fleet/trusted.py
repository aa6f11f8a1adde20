"""What a robot believes of a registry: the TUF client, with writes that survive a power loss.

```
generations/N/metadata, targets   verified metadata and documents
current                           which generation counts; replaced by rename
state.json                        ETag, and the latest time that was believed
```
python-tuf checks and writes into a copy; only where all that a robot wanted was verified does the
copy, made durable, take the place of what was believed before. So nothing is ever half new.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_perception.core.errors import (
    ClockNotSetError,
    FleetError,
    LinkError,
    RegistryError,
)
from edge_perception.core.extras import extra
from edge_perception.fleet.documents import TIMESTAMP_DAYS
from edge_perception.fleet.places import Place
from edge_perception.releases.disk import StoreDisk

# Of a robot's clock against what it believed before: summer time is no matter in UTC.
_BACK_S = 24 * 3600.0
_EARLIEST_NS = 1_700_000_000_000_000_000
_MOST_TIMESTAMP_BYTES = 16384
Reader = Callable[[str], "bytes | None"]


class TrustedRegistry:
    """Refreshes and reads the verified view; one process at a time."""

    def __init__(self, disk: StoreDisk, place: Place, root: bytes) -> None:
        """Open what was believed.

        Args:
            disk: folder of this robot for it.
            place: the registry.
            root: its first root, which came with the robot.
        """
        self._disk, self._place, self._root = disk, place, root
        disk.make_folders(("generations",))
        self._state = self._read_state()

    def refresh(
        self, now_ns: int, follow: Callable[[Reader], None], *, again: bool = False
    ) -> bool:
        """Look for news, verify them, and believe all of them or nothing.

        Args:
            now_ns: wall clock.
            follow: reads every document that is wanted; what it raises refuses all.
            again: follow without news too, as other documents may be wanted than before.

        Returns:
            Whether there was news.

        Raises:
            ClockNotSetError: the clock cannot tell what has expired.
            LinkError: the registry cannot be reached; what was believed stays.
            RegistryError: it says what it must not.
        """
        self._check_clock(now_ns)
        current = self._current()
        found = self._timestamp(self._state["etag"] if current and not again else "")
        if found is None:
            self._check_fresh(now_ns)
            return False
        old = self._bytes(current, "metadata/timestamp.json")
        if old is not None and old == found[0] and not again:
            self._check_fresh(now_ns)
            self._note(now_ns, found[1])
            return False
        work = self._generation(current)
        try:
            with _said():
                updater = self._updater(work, now_ns)
                updater.refresh()
                self._check_behind(updater._trusted_set.timestamp.expires, now_ns)
                follow(lambda path: self._fetch(updater, work, path))
            self._believe(work)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        self._note(now_ns, found[1])
        return True

    def read(self, path: str) -> bytes | None:
        """Return a document that is believed; None: there is none."""
        return self._bytes(self._current(), _target(path))

    @property
    def refreshed_ns(self) -> int:
        """Wall clock when the registry was last believed; 0: never."""
        return int(self._state["seen_ns"])

    # -- tuf --

    def _updater(self, work: Path, now_ns: int) -> Any:
        with extra("fleet"):
            from tuf.ngclient import Updater, UpdaterConfig

            from edge_perception.fleet.fetching import fetcher
        updater = Updater(
            str(work / "metadata"),
            metadata_base_url="metadata/",
            target_base_url="targets/",
            fetcher=fetcher(self._place),
            config=UpdaterConfig(timestamp_max_length=_MOST_TIMESTAMP_BYTES),
            bootstrap=self._root,
        )
        # The clock is an argument here; python-tuf takes that of the process.
        updater._trusted_set.reference_time = _utc(now_ns)
        return updater

    def _fetch(self, updater: Any, work: Path, path: str) -> bytes | None:
        info = updater.get_targetinfo(path)
        target = work / _target(path)
        if info is None:
            target.unlink(missing_ok=True)
            return None
        if updater.find_cached_target(info, str(target)) is None:
            updater.download_target(info, str(target))
        return target.read_bytes()

    # -- time --

    def _check_clock(self, now_ns: int) -> None:
        if now_ns < _EARLIEST_NS:
            raise ClockNotSetError(f"registry: the clock says {_utc(now_ns):%Y-%m-%d}: not set")
        if now_ns < self._state["seen_ns"] - _BACK_S * 1e9:
            raise ClockNotSetError(
                f"registry: the clock says {_utc(now_ns):%Y-%m-%d %H:%M}, and said "
                f"{_utc(self._state['seen_ns']):%Y-%m-%d %H:%M} before: it went back"
            )

    def _check_behind(self, expires: datetime, now_ns: int) -> None:
        """By a clock that is behind nothing expires: whatever is shown again looks new."""
        signed_ns = round((expires.timestamp() - TIMESTAMP_DAYS * 86_400) * 1e9)
        if signed_ns > now_ns + _BACK_S * 1e9:
            raise ClockNotSetError(
                f"registry: the clock says {_utc(now_ns):%Y-%m-%d %H:%M}, and the registry was "
                f"renewed {_utc(signed_ns):%Y-%m-%d %H:%M}: it is behind"
            )

    def _check_fresh(self, now_ns: int) -> None:
        """Nothing new is no news for ever: somebody may hold back what there is."""
        data = self._bytes(self._current(), "metadata/timestamp.json")
        assert data is not None
        with extra("fleet"):
            from tuf.api.metadata import Metadata
        expires = Metadata.from_bytes(data).signed.expires
        if _utc(now_ns) > expires:
            raise RegistryError(
                f"registry: its timestamp expired {expires:%Y-%m-%d %H:%M} and there is no newer "
                "one: nobody renewed it, or somebody holds news back"
            )

    # -- disk --

    def _timestamp(self, etag: str) -> tuple[bytes, str] | None:
        try:
            return self._place.read_if_changed(
                "metadata/timestamp.json", etag, _MOST_TIMESTAMP_BYTES
            )
        except FileNotFoundError as error:
            raise LinkError("registry: there is none at this address") from error

    def _current(self) -> Path | None:
        try:
            name = (self._disk.root / "current").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None
        path = self._disk.root / "generations" / Path(name).name
        return path if path.is_dir() else None

    def _generation(self, current: Path | None) -> Path:
        """Return a copy of what is believed, to be changed."""
        number = int(current.name) + 1 if current is not None else 1
        work = current.with_name(str(number)) if current else self._first(number)
        with self._disk.writing():
            self._disk.files.remove(work)  # of a dead process
            if current is not None:
                shutil.copytree(current, work, symlinks=True)
            else:
                for name in ("metadata", "targets"):
                    (work / name).mkdir(parents=True)
        return work

    def _first(self, number: int) -> Path:
        return self._disk.root / "generations" / str(number)

    def _believe(self, work: Path) -> None:
        files = self._disk.files
        with self._disk.writing():
            for folder, _, names in os.walk(work, topdown=False):
                for name in names:
                    if not (Path(folder) / name).is_symlink():
                        files.sync(Path(folder) / name)
                files.sync_folder(Path(folder))
            files.sync_folder(work.parent)
            self._disk.replace(self._disk.root / "current", work.name.encode("ascii"))
            for other in work.parent.iterdir():
                if other.name != work.name:
                    files.remove(other)

    def _note(self, now_ns: int, etag: str) -> None:
        self._state = {"etag": etag, "seen_ns": max(now_ns, self._state["seen_ns"])}
        with self._disk.writing():
            text = json.dumps(self._state).encode("utf-8")
            self._disk.replace(self._disk.root / "state.json", text)

    def _read_state(self) -> dict[str, Any]:
        try:
            data = json.loads((self._disk.root / "state.json").read_bytes())
            return {"etag": str(data["etag"]), "seen_ns": int(data["seen_ns"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {"etag": "", "seen_ns": 0}

    def _bytes(self, generation: Path | None, name: str) -> bytes | None:
        try:
            return (generation / name).read_bytes() if generation is not None else None
        except FileNotFoundError:
            return None


@contextmanager
def _said() -> Iterator[None]:
    """Turn the errors of tuf into ours: what is to be tried again, and what is refused."""
    with extra("fleet"):
        from tuf.api.exceptions import (
            DownloadError,
            DownloadLengthMismatchError,
            ExpiredMetadataError,
            RepositoryError,
        )

    try:
        yield
    except FleetError:
        raise
    except ExpiredMetadataError as error:
        raise RegistryError(f"registry: expired: {error}") from error
    except DownloadLengthMismatchError as error:
        raise RegistryError(f"registry: too long, or without an end: {error}") from error
    except DownloadError as error:
        raise LinkError(f"registry: {error.__cause__ or error}") from error
    except (RepositoryError, ValueError) as error:
        raise RegistryError(f"registry: {type(error).__name__}: {error}") from error


def _target(path: str) -> str:
    return "targets/" + path.replace("/", "--")


def _utc(now_ns: int) -> datetime:
    return datetime.fromtimestamp(now_ns / 1e9, tz=timezone.utc)
