"""The logger of a node: what it is given is limited, and more is written around an anomaly.

It stands where rclpy's logger stood (`get_logger()`), with `detail` and `anomaly` beside the usual
methods. What is written is decided in `core/log_control.py`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy.logging
from rclpy.impl import rcutils_logger
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.impl.logging_severity import LoggingSeverity

from edge_perception.core.log_control import Before, DetailTime, RepeatLimit
from edge_perception.running.log_format import is_json, quoted
from edge_perception.running.node_options import NodeOptions

DETAIL_LINES = 400  # in a window while details are written; those beyond are counted
_DETAILS = "details"  # kind of line
_SEVERITIES = (
    LoggingSeverity.DEBUG,
    LoggingSeverity.INFO,
    LoggingSeverity.WARN,
    LoggingSeverity.ERROR,
    LoggingSeverity.FATAL,
)


class NodeLog:
    """Writes under the name of a node; every method may be called from any thread."""

    def __init__(
        self,
        logger: Any,
        options: NodeOptions,
        *,
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Stand for a logger.

        Args:
            logger: rclpy's, of the node.
            options: of the node.
            steady_ns: the steady clock.
        """
        self._steady_ns = steady_ns
        self.name: str = logger.name
        self._logger = logger
        # One each: rclpy refuses another severity from a line of code that has logged before.
        self._by_severity = {each: rclpy.logging.get_logger(self.name) for each in _SEVERITIES}
        # Lines are those of who calls us.
        here = os.path.realpath(__file__)
        if here not in rcutils_logger._internal_callers:
            rcutils_logger._internal_callers.append(here)
        self._json = is_json(os.environ)
        self._lock = threading.RLock()
        self._repeats = RepeatLimit(burst=0, window_s=1.0)
        self._details = RepeatLimit(burst=DETAIL_LINES, window_s=1.0)
        self._time = DetailTime(details_s=0.0)
        self._before = Before()
        self._level = LoggingSeverity.UNSET  # before details began
        self.configure(options)

    def configure(self, options: NodeOptions) -> None:
        """Take other limits, from the next line on."""
        with self._lock:
            self._repeats.burst = options.log_burst
            self._repeats.window_s = self._details.window_s = options.log_window_s
            self._time.details_s = options.log_details_s

    # -- as rclpy's logger --

    def debug(self, message: str, **kwargs: Any) -> bool:
        """Write a line while the level is DEBUG."""
        return self.log(message, LoggingSeverity.DEBUG, **kwargs)

    def info(self, message: str, **kwargs: Any) -> bool:
        """Write a line of severity INFO."""
        return self.log(message, LoggingSeverity.INFO, **kwargs)

    def warning(self, message: str, **kwargs: Any) -> bool:
        """Write a line of severity WARN."""
        return self.log(message, LoggingSeverity.WARN, **kwargs)

    warn = warning

    def error(self, message: str, **kwargs: Any) -> bool:
        """Write a line of severity ERROR."""
        return self.log(message, LoggingSeverity.ERROR, **kwargs)

    def fatal(self, message: str, **kwargs: Any) -> bool:
        """Write a line of severity FATAL, whatever the limit."""
        return self.log(message, LoggingSeverity.FATAL, **kwargs)

    def log(self, message: str, severity: LoggingSeverity, **kwargs: Any) -> bool:
        """Write a line, or count it where too many say the same.

        Args:
            message: the text.
            severity: of it.
            kwargs: filters of rclpy, which then decide, and count nothing.

        Returns:
            Whether it was written.
        """
        severity = LoggingSeverity(severity)
        if kwargs:
            return bool(self._logger.log(self._text(message), severity, **kwargs))
        if not self._logger.is_enabled_for(severity):
            return False
        with self._lock:
            now_ns = self._steady_ns()
            self._write_ended(now_ns)
            free = severity in (LoggingSeverity.DEBUG, LoggingSeverity.FATAL)
            if not free and not self._repeats.take(severity, message, now_ns):
                return False
            self._write(severity, message)
        return True

    def __getattr__(self, name: str) -> Any:
        """Give what else rclpy's logger has: levels and children."""
        return getattr(self._logger, name)

    # -- details around an anomaly --

    def detail(self, template: str, *values: object) -> None:
        """Tell what is not worth a line unless something goes wrong, as often as once a frame.

        Args:
            template: as of `str.format`.
            values: numbers and short texts; they are kept for a while.
        """
        now_ns = self._steady_ns()
        with self._lock:
            if not self._time.raised and not self._logger.is_enabled_for(LoggingSeverity.DEBUG):
                self._before.keep(now_ns, template, values)
                return
            self._write_ended(now_ns)
            if self._details.take(
                LoggingSeverity.DEBUG, template, now_ns, values=values, kind=_DETAILS
            ):
                self._write(LoggingSeverity.DEBUG, template.format(*values))

    def anomaly(self, why: str) -> None:
        """Write details from now on, for a while, and those from just before.

        Args:
            why: what is wrong; a line of its own says so.
        """
        now_ns = self._steady_ns()
        with self._lock:
            if not self._time.on_anomaly(now_ns):
                return
            # The level may be the parent's or the process's: then none is set for this name.
            self._level = rclpy.logging.get_logger_level(self.name)
            self._write(
                LoggingSeverity.INFO, f"details for {self._time.details_s:g} s, level DEBUG: {why}"
            )
            self._logger.set_level(LoggingSeverity.DEBUG)
            for text in self._before.take(now_ns):
                self._write(LoggingSeverity.DEBUG, text)

    def tick(self) -> None:
        """Write what became due: counts of windows that ended, and the end of details."""
        with self._lock:
            self._write_ended(self._steady_ns())

    def close(self) -> None:
        """Write all counts; the level is again what it was."""
        with self._lock:
            now_ns = self._steady_ns()
            for limit in (self._repeats, self._details):
                for line in limit.ended(now_ns, all_windows=True):
                    self._write(LoggingSeverity(line.severity), line.text)
            if self._time.raised:
                self._fall()
                self._time = DetailTime(details_s=self._time.details_s)

    def _write_ended(self, now_ns: int) -> None:
        for limit in (self._repeats, self._details):
            for line in limit.ended(now_ns):
                self._write(LoggingSeverity(line.severity), line.text)
        raised_s = self._time.ends(now_ns)
        if raised_s is not None:
            found, self._time.anomalies = self._time.anomalies, 0
            for line in self._details.ended(now_ns, all_windows=True):
                self._write(LoggingSeverity(line.severity), line.text)
            self._fall()
            self._write(
                LoggingSeverity.INFO, f"no more details, after {raised_s:.1f} s; anomalies: {found}"
            )

    def _fall(self) -> None:
        # Somebody may have set another level meanwhile: then it is theirs.
        if rclpy.logging.get_logger_level(self.name) == LoggingSeverity.DEBUG:
            self._logger.set_level(self._level)

    def _write(self, severity: LoggingSeverity, text: str) -> None:
        write = getattr(rclpy_implementation, "rclpy_logging_rcutils_log", None)
        if write is None:  # of another rclpy
            self._by_severity[severity].log(self._text(text), severity)
            return
        # rclpy's own way looks for who calls by the files of the stack: fifty times what the line
        # takes, and details are written once a frame.
        frame = sys._getframe()
        here = frame.f_code.co_filename
        while frame.f_code.co_filename == here and frame.f_back is not None:
            frame = frame.f_back
        where = frame.f_code
        write(
            severity, self.name, self._text(text), where.co_name, where.co_filename, frame.f_lineno
        )

    def _text(self, text: str) -> str:
        return quoted(str(text)) if self._json else str(text)
