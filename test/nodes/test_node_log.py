"""The logger of a node writes through ROS: counts, levels that rise and fall, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import rclpy.logging
from rclpy.impl.logging_severity import LoggingSeverity

from edge_perception.nodes.common import node_log
from edge_perception.nodes.common.node_log import DETAIL_LINES, NodeLog
from edge_perception.running.log_format import JSON, JSON_FORMAT, VARIABLE, log_environment
from edge_perception.running.node_options import NodeOptions

S = 1_000_000_000


class Steady:
    ns = 0

    def __call__(self) -> int:
        return self.ns


def made(name: str, **options) -> tuple[NodeLog, Steady]:
    clock = Steady()
    logger = rclpy.logging.get_logger(name)
    return NodeLog(logger, NodeOptions(**options), steady_ns=clock), clock


def lines(capfd) -> list[str]:
    return capfd.readouterr().err.splitlines()


def test_repetitions_are_counted_and_one_line_of_code_may_log_all_severities(capfd):
    log, clock = made("repeats", log_burst=2, log_window_s=10.0)
    for number in range(6):
        for severity in (LoggingSeverity.INFO, LoggingSeverity.ERROR):
            log.log(f"disk {number}", severity)
    log.fatal("disk 7")
    log.fatal("disk 8")
    written = lines(capfd)
    assert sum("[INFO]" in line for line in written) == 2
    assert sum("[ERROR]" in line for line in written) == 2
    assert sum("[FATAL]" in line for line in written) == 2
    clock.ns = 10 * S
    log.tick()
    told = lines(capfd)
    assert len(told) == 2
    assert all("disk 5 (the last of 4 like it that were left out)" in line for line in told)
    log.info("disk 9")
    log.close()
    assert "the last of 1 like it" in lines(capfd)[0], "nothing is lost at the end"


def test_details_are_written_around_an_anomaly_and_the_level_falls_again(capfd):
    log, clock = made("details", log_details_s=10.0)
    log.detail("frame {}", 1)
    assert not lines(capfd)
    clock.ns = S
    log.anomaly("lidar: STALE")
    log.detail("frame {}", 2)
    written = lines(capfd)
    assert "[INFO] " in written[0]
    assert "details for 10 s, level DEBUG: lidar: STALE" in written[0]
    assert "[DEBUG]" in written[1]
    assert "1.000 s before: frame 1" in written[1]
    assert "[DEBUG]" in written[2]
    assert written[2].endswith("frame 2")
    assert log.get_effective_level() == LoggingSeverity.DEBUG

    for number in range(DETAIL_LINES + 50):
        log.detail("frame {}", number)
    clock.ns = 11 * S
    log.tick()
    written = lines(capfd)
    assert "left out" in written[-2]
    assert not [line for line in written if "{" in line], "what was left out has its values too"
    assert "[DEBUG]" in written[-2]
    assert written[-1].endswith("no more details, after 10.0 s; anomalies: 1")
    assert log.get_effective_level() == LoggingSeverity.INFO
    log.detail("frame {}", 3)
    assert not lines(capfd)


def test_a_level_that_somebody_set_meanwhile_stays(capfd):
    log, clock = made("theirs", log_details_s=10.0)
    log.anomaly("camera: LATE")
    log.set_level(LoggingSeverity.WARN)
    clock.ns = 10 * S
    log.tick()
    assert log.get_effective_level() == LoggingSeverity.WARN
    log.anomaly("camera: LATE")
    log.close()
    assert log.get_effective_level() == LoggingSeverity.WARN, "as before, also where a node ends"


PROGRAM = """
import rclpy.logging
from edge_perception.nodes.common.node_log import NodeLog
from edge_perception.running.node_options import NodeOptions
log = NodeLog(rclpy.logging.get_logger("encoder"), NodeOptions())
log.warning('a "quoted" path C:\\\\temp\\nof two lines {severity} ä')
log.anomaly("camera: LATE")
log.detail("frame {}", 1)
"""


def test_on_the_console_each_line_is_an_object_of_json():
    environment = {**os.environ, **log_environment(JSON)}
    assert environment[VARIABLE] == JSON_FORMAT
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    first, second, third = (json.loads(line) for line in done.stderr.splitlines())
    assert first["message"] == 'a "quoted" path C:\\temp\nof two lines {severity} ä'
    assert (first["level"], first["logger"]) == ("WARN", "encoder")
    assert first["line"] == 6, "where it was said"
    assert first["time_s"] > 1e9
    assert second["message"].endswith("camera: LATE")
    assert (third["level"], third["message"]) == ("DEBUG", "frame 1")


def test_lines_are_those_of_who_calls(monkeypatch):
    written = []
    fake = SimpleNamespace(rclpy_logging_rcutils_log=lambda *args: written.append(args))
    monkeypatch.setattr(node_log, "rclpy_implementation", fake)
    log, _ = made("callers")
    log.warning("disk full")
    log.anomaly("camera: STALE")
    log.detail("frame {}", 1)
    assert [text for _, _, text, *_ in written][::2] == ["disk full", "frame 1"]
    here = sys._getframe().f_code
    for _, name, _, function, path, line in written:
        assert (name, function, path) == ("callers", here.co_name, here.co_filename)
        assert here.co_firstlineno < line < here.co_firstlineno + 12
    assert len({line for *_, line in written}) == 3
    monkeypatch.setattr(node_log, "rclpy_implementation", SimpleNamespace())
    log.warning("disk still full")
    assert len(written) == 3, "another rclpy writes by its own logger"
