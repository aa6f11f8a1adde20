"""How log lines look on the console: ROS's own way, or an object of JSON a line.

ROS writes the console in the format of one variable, for all nodes of a process and for its own
libraries. JSON has quoted texts, and ROS quotes nothing: our nodes do (`quoted`), where the process
has this format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)
VARIABLE = "RCUTILS_CONSOLE_OUTPUT_FORMAT"
JSON_FORMAT = (
    '{"time_s": {time}, "level": "{severity}", "logger": "{name}", "file": "{file_name}", '
    '"line": {line_number}, "message": "{message}"}'
)


def log_environment(chosen: str) -> dict[str, str]:
    """Return the variables to add to the environment of processes with nodes.

    Args:
        chosen: one of FORMATS; `text` leaves what the environment has.
    """
    return {VARIABLE: JSON_FORMAT} if chosen == JSON else {}


def is_json(environment: Mapping[str, str]) -> bool:
    """Whether a process with this environment writes JSON."""
    return environment.get(VARIABLE) == JSON_FORMAT


def quoted(text: str) -> str:
    """Return a text as it stands between the quotes of JSON: on one line, quotes escaped."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
