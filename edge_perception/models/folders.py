"""Finding bundles by name in the folders that hold them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_perception.core.errors import ConfigurationError, ModelError, UnknownNameError
from edge_perception.core.share import share_directory
from edge_perception.models.manifest import (
    MANIFEST_NAME,
    Bundle,
    load_bundle,
    parse_manifest,
)

USER_FOLDER = Path("~/.local/share/edge_perception/models")
_LONGEST_NAME = 255  # of a file or folder, on Linux


@dataclass(frozen=True, kw_only=True)
class StoredBundle:
    """One bundle of a folder, usable or not."""

    name: str  # its path below the folder, for example bev_lite/lidar
    path: Path
    bundle: Bundle | None
    error: str = ""  # why it cannot be used


def installed_model_folders() -> tuple[Path, ...]:
    """Return where models are: those of this package first, then those of the user."""
    folders = [USER_FOLDER.expanduser()]
    with contextlib.suppress(ConfigurationError):  # the core alone is installed
        folders.insert(0, share_directory() / "models")
    return tuple(folder for folder in folders if folder.is_dir())


def with_installed(folders: Sequence[Path]) -> list[Path]:
    """Return folders that a user named, then those where models are.

    Raises:
        ConfigurationError: one is not there, so that nothing of it would be found.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ConfigurationError(f"--folder: expected a folder, got {folder}")
    return [*folders, *installed_model_folders()]


def find_bundle(name: str, folders: Sequence[Path]) -> Bundle:
    """Return the first bundle with that name, its files verified.

    Args:
        name: a path below one of the folders, or else the name in a manifest.
        folders: searched in this order.

    Raises:
        UnknownNameError: no folder has it; the text lists what there is.
        ModelError: the bundle is damaged, or the name would leave the folders.
    """
    parts = name.split("/")
    if "" in parts or ".." in parts or "." in parts or "\\" in name or "\0" in name:
        raise ModelError(
            f"model '{name}': expected a name such as bev_lite/lidar, not a path out of the folders"
        )
    longest = max(len(part.encode("utf-8", "replace")) for part in parts)
    if longest > _LONGEST_NAME:
        raise ModelError(f"model '{name[:40]}…': expected at most {_LONGEST_NAME} bytes a part")
    for folder in folders:
        if (folder / name / MANIFEST_NAME).is_file():
            return load_bundle(folder / name)
    for path in _bundle_paths(folders):
        if _name_in_manifest(path) == name:
            return load_bundle(path)
    searched = ", ".join(map(str, folders)) or "no folder"
    known = sorted({str(path.relative_to(folder)) for folder, path in _bundles_in(folders)})
    raise UnknownNameError(kind=f"model (searched in {searched})", name=name, known=known)


def find_digest(sha256: str, folders: Sequence[Path]) -> Bundle:
    """Return the bundle whose manifest has this digest, its files verified.

    Raises:
        UnknownNameError: no folder has it.
        ModelError: it is damaged.
    """
    for path in _bundle_paths(folders):
        with contextlib.suppress(OSError):  # a broken neighbour
            if hashlib.sha256((path / MANIFEST_NAME).read_bytes()).hexdigest() == sha256:
                return load_bundle(path)
    searched = ", ".join(map(str, folders)) or "no folder"
    raise UnknownNameError(kind=f"model digest (searched in {searched})", name=sha256, known=[])


def list_bundles(folders: Sequence[Path]) -> list[Bundle]:
    """Return the usable bundles of the folders; `stored_bundles` names the others too."""
    return [entry.bundle for entry in stored_bundles(folders) if entry.bundle is not None]


def stored_bundles(folders: Sequence[Path]) -> list[StoredBundle]:
    """Return every bundle of the folders, with the reason where it cannot be used."""
    entries = []
    for folder, path in _bundles_in(folders):
        name = str(path.relative_to(folder))
        try:
            entries.append(StoredBundle(name=name, path=path, bundle=load_bundle(path)))
        except ModelError as error:
            entries.append(StoredBundle(name=name, path=path, bundle=None, error=str(error)))
    return entries


def _bundle_paths(folders: Sequence[Path]) -> Iterator[Path]:
    return (path for _, path in _bundles_in(folders))


def _bundles_in(folders: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield (folder, bundle path): bundles lie one or two levels deep, hidden ones are not seen."""
    for folder in folders:
        found = [*folder.glob(f"*/{MANIFEST_NAME}"), *folder.glob(f"*/*/{MANIFEST_NAME}")]
        for manifest in sorted(found):
            if not any(part.startswith(".") for part in manifest.relative_to(folder).parts):
                yield folder, manifest.parent


def _name_in_manifest(path: Path) -> str:
    try:
        return parse_manifest((path / MANIFEST_NAME).read_bytes()).name
    except (ModelError, OSError):
        return ""  # a broken neighbour must not hide the bundle that was asked for
