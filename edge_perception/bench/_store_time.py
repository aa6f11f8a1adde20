"""How long a store of many releases takes to open and list, for `bench swap`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

from edge_perception.models.manifest import MANIFEST_NAME, load_bundle
from edge_perception.releases.shelf import parsed_manifest
from edge_perception.releases.store import ReleaseStore

_RUNS = 5


def make_store(folder: Path, source: Path, *, releases: int) -> Path:
    """Make a store of many releases of one bundle, and return it.

    Args:
        folder: where it is made.
        source: folder of the bundle.
        releases: how many versions.
    """
    root = folder / "many"
    store = ReleaseStore(root)
    text = json.loads((source / MANIFEST_NAME).read_bytes())
    for number in range(releases):
        made = folder / "versions" / str(number)
        made.mkdir(parents=True)
        text |= {"version": f"1.{number}.0", "release": number + 1}
        (made / MANIFEST_NAME).write_text(json.dumps(text), encoding="utf-8")
        for name in text["files"]:
            (made / name).symlink_to((source / name).resolve())
        store.adopt(load_bundle(made))
    return root


def store_open_ms(root: Path) -> float:
    """Return the time to open a store and read all its manifests, as a process does first, ms."""
    times_s = []
    for _ in range(_RUNS):
        parsed_manifest.cache_clear()
        began_s = time.perf_counter()
        ReleaseStore(root).releases()
        times_s.append(time.perf_counter() - began_s)
    return round(median(times_s) * 1e3, 1)
