"""Memory of this process as the kernel tells it, whatever the size of its pages."""

import numpy as np
import pytest

from edge_perception.core.process_memory import MAPPED, PEAK, RESIDENT, memory_bytes


def test_figures_of_this_process():
    before = memory_bytes(RESIDENT)
    held = np.ones(8_000_000)
    resident = memory_bytes(RESIDENT)
    assert resident - before > held.nbytes / 2
    assert memory_bytes(PEAK) >= resident - 2**20
    assert memory_bytes(MAPPED) > resident


def test_a_machine_that_does_not_tell(tmp_path):
    with pytest.raises(OSError, match="status"):
        memory_bytes(RESIDENT, tmp_path / "status")
    (tmp_path / "status").write_text("Name:\tpython3\nVmSize:\t  100 kB\n")
    assert memory_bytes(MAPPED, tmp_path / "status") == 102400
    with pytest.raises(OSError, match="has no VmRSS"):
        memory_bytes(RESIDENT, tmp_path / "status")
