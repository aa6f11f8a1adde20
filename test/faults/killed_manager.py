"""A model manager that kills itself, SIGKILL, right after the chosen record of its journal.

killed_manager.py RECORD --ros-args …
"""

import os
import signal
import sys

from failing_files import CountingFileSystem

from edge_perception.nodes.common.spin import run
from edge_perception.nodes.manager.node import ModelManagerNode


class Killing(CountingFileSystem):
    def __init__(self, record: str) -> None:
        super().__init__()
        self.record = record.encode()

    def after(self, name, *args) -> None:
        if name == "sync" and args[0].name == "journal.jsonl":
            last = args[0].read_bytes().splitlines()[-1]
            if b'"step": "' + self.record in last:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    files = Killing(sys.argv[1])
    sys.exit(run(lambda: [ModelManagerNode(files=files)], sys.argv[2:]))
