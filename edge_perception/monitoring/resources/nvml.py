"""GPUs of NVIDIA through the driver's own library, NVML; nothing to install beside the driver.

https://docs.nvidia.com/deploy/nvml-api/: milliwatts, degrees Celsius, percent, bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from edge_perception.monitoring.resources.reading import (
    COLDEST_C,
    HOTTEST_C,
    MOST_WATTS,
    Missing,
    Reading,
)

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_OF_GPU = 0  # NVML_TEMPERATURE_GPU
# nvmlClocksThrottleReason*: what holds a GPU back for heat or for power.
_REASONS = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "heat",
    0x40: "heat, in hardware",
    0x80: "power brake",
}


class _Utilisation(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class Gpus:
    """Reads all GPUs; the library is looked for once.

    Args:
        load: returns the library by its name; raises OSError where it is not.
    """

    def __init__(self, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._library: Any = None
        self._why_none = ""
        try:
            self._library = load(LIBRARY)
        except OSError:
            self._why_none = f"there is no driver of NVIDIA ({LIBRARY})"
            return
        code = self._library.nvmlInit_v2()
        if code != _SUCCESS:
            self._why_none = f"NVML does not start: {self._error(code)}"
            self._library = None

    def sample(self) -> tuple[list[Reading], list[Missing], list[str]]:
        """Return what the GPUs tell, what they do not, and what holds them back."""
        if self._library is None:
            return [], [Missing(what="GPU", why=self._why_none)], []
        count = ctypes.c_uint()
        code = self._library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        if code != _SUCCESS:
            return [], [Missing(what="GPU", why=self._error(code))], []
        if not count.value:
            return [], [Missing(what="GPU", why="NVML tells of none")], []
        readings: list[Reading] = []
        missing: list[Missing] = []
        held_back: list[str] = []
        for index in range(count.value):
            self._read(index, readings, missing, held_back)
        return readings, missing, held_back

    def _read(
        self, index: int, readings: list[Reading], missing: list[Missing], held_back: list[str]
    ) -> None:
        name, device = f"gpu{index}", ctypes.c_void_p()
        code = self._library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        if code != _SUCCESS:
            missing.append(Missing(what=name, why=self._error(code)))
            return
        library, number = self._library, ctypes.c_uint()
        use, memory, reasons = _Utilisation(), _Memory(), ctypes.c_ulonglong()

        def asked(what: str, function: Any, *arguments: Any) -> bool:
            code = function(device, *arguments)
            if code != _SUCCESS:  # integrated GPUs answer some questions only
                missing.append(Missing(what=f"{what} of {name}", why=self._error(code)))
            return bool(code == _SUCCESS)

        def told(what: str, kind: str, value: float, low: float, high: float) -> None:
            if low <= value <= high:
                readings.append(Reading(kind=kind, name=name, value=value))
            else:
                why = f"it tells {value:g}, expected {low:g} to {high:g}"
                missing.append(Missing(what=f"{what} of {name}", why=why))

        if asked("watts", library.nvmlDeviceGetPowerUsage, ctypes.byref(number)):
            told("watts", "watts", number.value / 1e3, 0.0, MOST_WATTS)
        if asked("temperature", library.nvmlDeviceGetTemperature, _OF_GPU, ctypes.byref(number)):
            told("temperature", "temperature_c", number.value, COLDEST_C, HOTTEST_C)
        if asked("use", library.nvmlDeviceGetUtilizationRates, ctypes.byref(use)):
            told("use", "gpu_share", use.gpu / 100.0, 0.0, 1.0)
        if asked("memory", library.nvmlDeviceGetMemoryInfo, ctypes.byref(memory)):
            told("memory", "gpu_memory_used_bytes", memory.used, 0.0, max(memory.total, 1))
        if asked(
            "throttling",
            library.nvmlDeviceGetCurrentClocksThrottleReasons,
            ctypes.byref(reasons),
        ):
            found = [text for bit, text in _REASONS.items() if reasons.value & bit]
            if found:
                held_back.append(f"{name} held back by {' and '.join(found)}")

    def _error(self, code: int) -> str:
        text = self._library.nvmlErrorString
        text.restype = ctypes.c_char_p
        said = text(code)
        return said.decode() if said else f"NVML error {code}"
