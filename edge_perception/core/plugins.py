"""Where extensions outside the package are: folders that the operator names, and entry points.

A plug-in folder is laid out like the package: `encoders/`, `backends/` and `adapters/` in it hold
modules or packages that export SPEC. An installed distribution names its own as entry points of
the groups `edge_perception.encoders`, `.backends` and `.adapters`.

The folders are those of the process: a node takes them from its parameter `plugin_folders`, a
command from `--plugin-folder`, and whoever starts a helper process hands them on. They hold code
that runs with the rights of the process, so a bundle cannot name one.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from edge_perception.core.errors import ConfigurationError

KINDS = ("encoders", "backends", "adapters", "device_keys")
_folders: tuple[Path, ...] = ()


def plugin_folders() -> tuple[Path, ...]:
    """Return the folders of this process, absolute."""
    return _folders


def add_plugin_folders(folders: Iterable[str | Path]) -> None:
    """Look for extensions in these folders too, from now on.

    Raises:
        ConfigurationError: one of them is not there, or holds no extension of any kind.
    """
    global _folders
    for given in folders:
        folder = Path(given).expanduser().absolute()
        if not folder.is_dir():
            raise ConfigurationError(f"plugin_folders: expected a folder, got {given}")
        if not any((folder / kind).is_dir() for kind in KINDS):
            raise ConfigurationError(
                f"plugin_folders: {given}: expected one of {', '.join(KINDS)} in it, got none"
            )
        if folder not in _folders:
            _folders = (*_folders, folder)


def import_plugin(folder: Path, kind: str, name: str) -> ModuleType:
    """Import a module of a plug-in folder; inside of one folder relative imports work."""
    root = f"edge_perception_plugins_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if root not in sys.modules:
        package = ModuleType(root, f"Plug-ins of {folder}.")
        package.__path__ = [str(folder)]
        sys.modules[root] = package
    importlib.invalidate_caches()  # the folder may be newer than what Python knows of it
    return importlib.import_module(f"{root}.{kind}.{name}")
