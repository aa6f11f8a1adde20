"""What a storage holds of mined samples: files in pieces, and a document a sample, written last.

```
samples/ROBOT/pieces/HA/HASH   parts of files, named by their hashes
samples/ROBOT/HASH.json        the document of the recording with that hash
```
A robot writes below its own name only, so that a storage may give it no more rights than that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_perception.core.errors import FleetError
from edge_perception.core.parameter import parameter
from edge_perception.fleet.documents import Pieces

SAMPLES = "samples"
RECORDING, PARAMETERS = ".mcap", ".params.yaml"  # endings of the files of a sample
MOST_DOCUMENT_BYTES = 4 * 2**20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_PATH = re.compile(rf"{SAMPLES}/(?P<device>[^/]+)/(?P<sha256>[0-9a-f]{{64}})\.json")


@dataclass(frozen=True, kw_only=True)
class SampleFile:
    """One file of a sample."""

    name: str
    data: Pieces


@dataclass(frozen=True, kw_only=True)
class SampleDocument:
    """A recording of doubtful moments, and what is needed to read it."""

    schema: int = parameter(1, choices=(1,))
    device: str
    uploaded_ns: int  # clock of the robot
    files: tuple[SampleFile, ...]  # the recording first

    @property
    def sha256(self) -> str:
        """What the sample is known by: the hash of its recording."""
        return self.files[0].data.sha256

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.data.size for file in self.files)

    def __post_init__(self) -> None:
        """Refuse names that are none: they become files of whoever collects."""
        check_device(self.device)
        endings = [RECORDING, *[PARAMETERS] * (len(self.files) - 1)]
        if not 1 <= len(self.files) <= 2:
            raise FleetError(f"sample: expected 1 or 2 files, got {len(self.files)}")
        for file, ending in zip(self.files, endings, strict=True):
            if not _NAME.fullmatch(file.name) or not file.name.endswith(ending):
                raise FleetError(
                    f"sample: expected a plain name that ends with {ending}, got '{file.name}'"
                )


def check_device(name: str) -> None:
    """Refuse a name of a robot that cannot be a folder.

    Raises:
        FleetError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise FleetError(
            f"robot: expected a name of letters, digits and ._-, got '{name[:80]}': it is a folder "
            "of the storage"
        )


def robot_folder(device: str) -> str:
    """Return where a robot's samples are in a storage."""
    return f"{SAMPLES}/{device}"


def parts_of_path(path: str) -> tuple[str, str] | None:
    """Return robot and hash of the path of a document; None: it is another file."""
    match = _PATH.fullmatch(path)
    return (match["device"], match["sha256"]) if match else None
