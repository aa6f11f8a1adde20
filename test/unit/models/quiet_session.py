"""Loads a model beside others and prints which threads it made, and which of them stay low.

Run with whether this process may raise the priority of its threads again.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from edge_perception.models import quiet
from edge_perception.models.folders import find_bundle, installed_model_folders
from edge_perception.models.loading import ModelOptions, open_bundle


def nice(tid):
    return os.getpriority(os.PRIO_PROCESS, tid)


def is_low(tid):
    try:
        mine = nice(threading.get_native_id())
        return os.sched_getscheduler(tid) != os.SCHED_OTHER or nice(tid) > mine
    except ProcessLookupError:
        return False  # it has ended


def threads():
    return set(map(int, os.listdir("/proc/self/task")))


def those_that_stay_low(before):
    """Of those made since: quiet threads that were joined need a core once more to end."""
    give_up_s = time.monotonic() + 120
    while low := [tid for tid in threads() - before if is_low(tid)]:
        if time.monotonic() > give_up_s:
            break
        time.sleep(0.01)
    return [Path(f"/proc/self/task/{tid}/stat").read_text() for tid in low]


def main():
    rights = sys.argv[1] == "True"
    quiet.may_return = lambda: rights
    bundle = find_bundle("bev_lite/audio", installed_model_folders())
    before = threads()
    loaded = open_bundle(bundle, ModelOptions(model="audio", threads=3), beside=True)
    made = len(threads() - before)
    print(json.dumps({"made": made, "low": those_that_stay_low(before)}))
    loaded.backend.close()


if __name__ == "__main__":
    main()
