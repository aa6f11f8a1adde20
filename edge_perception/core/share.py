"""Where the package's data files are: launch, config, models."""

from __future__ import annotations

from pathlib import Path

from edge_perception.core.errors import ConfigurationError

PACKAGE = "edge_perception"


def share_directory() -> Path:
    """Return the folder that holds `config`, `launch` and `models`.

    A checkout (also behind a symlink install) is its own; an install space of colcon and an
    environment of pip keep it at `share/edge_perception` below their prefix.

    Raises:
        ConfigurationError: neither is there, the installation is incomplete.
    """
    return _share_directory_of(Path(__file__).resolve())


def share_file(name: str) -> Path:
    """Return the path of a data file or folder, for example `config/perception.yaml`.

    Raises:
        ConfigurationError: there is no such file.
    """
    path = share_directory() / name
    if not path.exists():
        raise ConfigurationError(f"{name}: expected in {path.parent}, not found there")
    return path


def _share_directory_of(module: Path) -> Path:
    checkout = module.parents[2]
    if (checkout / "package.xml").is_file() and (checkout / "config").is_dir():
        return checkout
    # lib/python3.x/site-packages below the prefix; Debian's Python also uses local/lib/….
    for prefix in module.parents[3:8]:
        found = prefix / "share" / PACKAGE
        if (found / "config").is_dir():
            return found
    raise ConfigurationError(
        f"{module.parent}: expected share/{PACKAGE}/config below one of the folders above it, "
        "found none; install the package again"
    )
