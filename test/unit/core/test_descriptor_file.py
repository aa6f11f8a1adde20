"""What leads to a descriptor is written to, and no file takes its place."""

from pathlib import Path

from edge_perception.core.whole_file import check_place, write_whole


def test_a_descriptor_that_leads_to_a_file_is_written_to_and_keeps_what_came_before(tmp_path):
    with (tmp_path / "out").open("wb", buffering=0) as out:
        out.write(b"before\n")
        path = Path(f"/proc/self/fd/{out.fileno()}")
        check_place(path)
        write_whole(path, b"{}")
    assert (tmp_path / "out").read_bytes() == b"before\n{}"
