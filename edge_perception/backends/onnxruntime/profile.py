"""What ONNX Runtime writes while it profiles a session, as times of operators."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from edge_perception.backends.contract import OperatorTime

_RUN = "model_run"  # event of a whole run
_KERNEL = "_kernel_time"


class Profile:
    """The file of one session."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edge_perception_profile_")

    @property
    def prefix(self) -> str:
        """Where the runtime writes to."""
        return str(Path(self._folder.name) / "ort")

    def read(self, path: str, runs: int) -> tuple[OperatorTime, ...]:
        """Return the operators of the last runs.

        Args:
            path: the file that the runtime names at its end.
            runs: of those that are asked for; earlier ones, such as of warming up, do not count.
        """
        events = json.loads(Path(path).read_text(encoding="utf-8"))
        starts = sorted(event["ts"] for event in events if event.get("name") == _RUN)[-runs:]
        if not starts or runs <= 0:
            return ()
        spent_us: dict[tuple[str, str], float] = defaultdict(float)
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for event in events:
            if not _is_kernel(event) or event["ts"] < starts[0]:
                continue
            about = event["args"]
            key = (about["op_name"], about.get("provider", ""))
            spent_us[key] += event["dur"]
            counts[key] += 1
        return tuple(
            OperatorTime(
                kind=kind,
                count=counts[kind, where] / len(starts),
                seconds=spent_us[kind, where] / len(starts) / 1e6,
                where=where,
            )
            for kind, where in spent_us
        )

    def close(self) -> None:
        """Remove the file."""
        self._folder.cleanup()


def _is_kernel(event: dict[str, Any]) -> bool:
    return event.get("cat") == "Node" and str(event["name"]).endswith(_KERNEL)
