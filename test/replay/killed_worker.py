"""A worker that the system kills, as one does that runs out of memory."""

import os
import signal

from edge_perception.validation.tasks import work


def killed_work(task):
    """Work, but die on the bag `always` in every attempt and on `once` in the first."""
    bag = task.name.split("/")[0]
    mark = task.folder.with_name("died")
    if bag == "always" or (bag == "once" and not mark.exists()):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return work(task)
