"""What leads to a descriptor is written to, and no file takes its place."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_perception.core.whole_file import check_place, write_whole


def test_a_descriptor_that_leads_to_a_file_is_written_to_and_keeps_what_came_before(tmp_path):
    with (tmp_path / "out").open("wb", buffering=0) as out:
        out.write(b"before\n")
        path = Path(f"/proc/self/fd/{out.fileno()}")
        check_place(path)
        write_whole(path, b"{}")
    assert (tmp_path / "out").read_bytes() == b"before\n{}"


PRINTS_AROUND = """
import subprocess
import sys
from pathlib import Path

import pytest
from edge_perception.core.whole_file import write_whole
print("before")
write_whole(Path({name!r}), b"written\\n")
print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_what_is_printed_later_stands_after_it(tmp_path, name):
    """A redirected output has one position, whoever writes to it."""
    path = tmp_path / "told"
    with path.open("wb") as told:
        told.write(b"already there\n")
        told.flush()
        program = PRINTS_AROUND.format(name=name)
        subprocess.run([sys.executable, "-c", program], stdout=told, check=True)
    assert path.read_text().split("\n") == ["already there", "before", "written", "after", ""]
