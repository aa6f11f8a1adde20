"""Where recorded data is, and the scene that is made of it."""

from __future__ import annotations

import os
from pathlib import Path

import edge_perception
from edge_perception.core.errors import ConfigurationError
from edge_perception.recordings.reader import Recording
from edge_perception.samples import pandaset, simulated
from edge_perception.samples.build import ODOMETRY, BuildOptions, build_recording
from edge_perception.samples.scene import Scene
from edge_perception.samples.truth import GroundTruth, read_ground_truth

VARIABLE = "EDGE_PERCEPTION_DATA"
RELATIVE = Path("../shared/data")


def data_folder() -> Path | None:
    """Return the folder of recordings and public models, None where there is none.

    It is named by EDGE_PERCEPTION_DATA, or lies at ../shared/data of the checkout.

    Raises:
        ConfigurationError: the variable names a folder that does not exist.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_dir():
            raise ConfigurationError(f"{VARIABLE}: expected a folder, got '{named}'")
        return Path(named)
    checkout = Path(edge_perception.__file__).resolve().parents[1]
    for base in (checkout, Path.cwd()):
        if (base / RELATIVE).is_dir():
            return (base / RELATIVE).resolve()
    return None


def load_scene(data: Path | None, *, rig: str = "") -> Scene:
    """Return the recorded scene of a data folder, a simulated one where it has none.

    Args:
        data: the folder.
        rig: of simulated cameras; then the scene is a simulated one.
    """
    if rig:
        return simulated.simulated_scene(rig)
    if data is not None and pandaset.has_pandaset(data):
        return pandaset.load_pandaset(data)
    return simulated.simulated_scene()


def ensure_recording(
    path: Path, *, data: Path | None, duration_s: float, rig: str = ""
) -> GroundTruth:
    """Make the demo's recording unless it is there, whole, as long and of the same data.

    Returns:
        What the recording carries about itself.
    """
    recorded = not rig and data is not None and pandaset.has_pandaset(data)
    origin = pandaset.ORIGIN if recorded else simulated.origin_of(rig)
    if path.is_file():
        try:
            recording = Recording(path)
            truth = read_ground_truth(recording)
            whole = ODOMETRY.name in recording.topics  # those of versions before had none
            if whole and truth.origin == origin and abs(recording.duration_s - duration_s) < 1.0:
                return truth
        except ConfigurationError:
            pass  # damaged or of an older version: made again below
    return build_recording(load_scene(data, rig=rig), path, BuildOptions(duration_s=duration_s))
