"""A process that replays on one core has no BLAS threads and keeps its memory."""

import subprocess
import sys

import pytest

GETTERS = (
    "scipy_openblas_get_num_threads64_",
    "scipy_openblas_get_num_threads",
    "openblas_get_num_threads64_",
    "openblas_get_num_threads",
)

LATE = f"""
import os
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.pop(name, None)
import numpy  # loads OpenBLAS with a thread a core
from edge_perception.validation import one_core
one_core.use_one_core()
found = [
    getattr(library, getter)()
    for library in one_core._loaded("openblas")
    for getter in {GETTERS}
    if hasattr(library, getter)
]
print(found, os.environ["OPENBLAS_NUM_THREADS"])
"""

FAULTS = """
import resource
from edge_perception.validation.one_core import keep_memory
keep_memory()

def turn():
    blocks = [bytes(20_000_000) for _ in range(3)]  # bytes() of a size touches every page
    return [b"\\1" * 20_000_000 for _ in blocks]

turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def answer(text):
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_blas_that_is_loaded_already_gets_one_thread():
    counts, told = answer(LATE).rsplit(" ", 1)
    assert told == "1", "processes started from here read the variable"
    if counts == "[]":
        pytest.skip("NumPy does not use OpenBLAS here")
    assert set(counts.strip("[]").split(", ")) == {"1"}


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_frames_that_come_and_go_cost_no_page_faults():
    pages = 10 * 6 * 20_000_000 / 4096
    assert int(answer(FAULTS)) < pages / 10
