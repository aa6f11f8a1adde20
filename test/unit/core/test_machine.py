"""What machine this is."""

from dataclasses import replace

from edge_perception.core import machine
from edge_perception.core.machine import this_machine


def test_this_machine_is_itself():
    here = this_machine()
    assert here.processor
    assert here.cores >= 1
    assert here.differs(here) == ""
    assert "cores" in here.differs(replace(here, cores=here.cores + 1))


def test_processors_of_several_kinds(tmp_path):
    info = tmp_path / "cpuinfo"
    for text, name in (
        ("processor\t: 0\nmodel name\t: Xeon\n\nprocessor\t: 1\nmodel name\t: Xeon\n", "Xeon"),
        ("processor: 0\nBogoMIPS: 1\nModel\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
    ):
        info.write_text(text)
        assert machine._processor(info) == name


def test_accelerators_are_read_from_the_kernel(tmp_path):
    gpu = tmp_path / "gpus" / "0000:01:00.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: \t\t NVIDIA L4\nIRQ: 1\n")
    (tmp_path / "accel" / "accel0").mkdir(parents=True)
    assert machine._nvidia(tmp_path / "gpus") == ["NVIDIA L4"]
    assert machine._npus(tmp_path / "accel") == ["npu accel0"]
    assert machine._npus(tmp_path / "none") == []
