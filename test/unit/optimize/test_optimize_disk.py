"""A disk that is full: the kernel refuses what is longer than a limit, as it does there."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager

import numpy as np
import pytest

from edge_perception.core.whole_file import write_whole
from edge_perception.optimize.bag_frames import FrameStore
from edge_perception.optimize.candidates import Remembered


@contextmanager
def room_for(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_was_there_stays_and_nothing_half_written_is_left(tmp_path):
    file = tmp_path / "model.onnx"
    write_whole(file, b"before")
    with room_for(4096), pytest.raises(OSError, match=r"model\.onnx"):
        write_whole(file, bytes(8192))
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_device_or_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"told")
    assert os.read(reader, 10) == b"told"
    os.close(reader)
    assert pipe.is_fifo()
    (tmp_path / "pictures").mkdir()
    with pytest.raises(OSError, match="pictures"):
        write_whole(tmp_path / "pictures", b"told")
    assert (tmp_path / "pictures").is_dir()


def test_frames_that_have_no_room_name_their_file():
    with FrameStore() as store, room_for(4096), pytest.raises(OSError, match=r"0\.npy"):
        store.keep({"raster": np.zeros(4096, np.float32)})


def test_verdicts_that_have_no_room_leave_those_before(tmp_path):
    file = tmp_path / "remembered.json"
    remembered = Remembered(file)
    remembered.put("one", 1.0)
    with room_for(512), pytest.raises(OSError, match="remembered"):
        remembered.put("two", "x" * 1024)
    assert Remembered(file).get("one") == 1.0
    assert Remembered(file).get("two") is None


def test_frames_on_disk_hold_no_file_open():
    def open_files():
        return len(os.listdir("/proc/self/fd"))

    with FrameStore() as store:
        before = open_files()
        kept = [store.keep({"raster": np.full(4, n, np.float32)}) for n in range(50)]
        assert open_files() <= before
        assert [frame["raster"][0] for frame in kept] == list(range(50))
        assert dict(kept[3]).keys() == {"raster"}
        with pytest.raises(KeyError):
            kept[0]["other"]
