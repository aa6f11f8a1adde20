"""Memory of this process as the kernel tells it, whatever the size of its pages."""

import mmap

import pytest

from edge_perception.core.process_memory import MAPPED, PEAK, RESIDENT, memory_bytes

HELD = 64 * 2**20


def test_figures_of_this_process():
    before = memory_bytes(RESIDENT)
    # Not from the allocator: what other tests gave back to it is resident before it is held again.
    with mmap.mmap(-1, HELD) as held:
        held.write(b"\1" * HELD)
        resident = memory_bytes(RESIDENT)
        assert resident - before > HELD / 2
        assert memory_bytes(PEAK) >= resident - 2**20
        assert memory_bytes(MAPPED) > resident
    assert resident - memory_bytes(RESIDENT) > HELD / 2


def test_a_machine_that_does_not_tell(tmp_path):
    with pytest.raises(OSError, match="status"):
        memory_bytes(RESIDENT, tmp_path / "status")
    (tmp_path / "status").write_text("Name:\tpython3\nVmSize:\t  100 kB\n")
    assert memory_bytes(MAPPED, tmp_path / "status") == 102400
    with pytest.raises(OSError, match="has no VmRSS"):
        memory_bytes(RESIDENT, tmp_path / "status")
