"""Metadata lives in setup.cfg, which the CMake install reads too; here are only the data files."""

from pathlib import Path

from setuptools import setup

# As the CMake install: share/edge_perception below the prefix.
SHARE = "share/edge_perception"
ROOT = Path(__file__).parent


def data_files() -> list[tuple[str, list[str]]]:
    """List the files of config, launch, models and msg by folder, the way setuptools wants them."""
    files = [
        path.relative_to(ROOT)
        for folder in ("config", "launch", "models", "msg")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]
    folders = sorted({file.parent for file in files})
    return [
        (f"{SHARE}/{folder}", [str(f) for f in files if f.parent == folder]) for folder in folders
    ]


setup(data_files=data_files())
