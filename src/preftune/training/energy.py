"""Energy of a block, by the counters that this machine lets us read: of the CPU packages (RAPL) and of a CUDA device (NVML)."""

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
_SECONDS = 20.0
"""Between two readings: RAPL's counters start anew after some minutes at full load."""

Counter = tuple[str, Callable[[], int], int | None]
"""Name of the method, reading in microjoules, and the reading after which it starts anew at 0 (None: never)."""


class EnergyMeter:
    """Sums the counters of the whole machine's packages and of the device inside its block.

    Attributes:
        facts: {watt_hours, method}: None and `unavailable` where no counter is readable.
    """

    def __init__(self, device: torch.device) -> None:
        self._counters = [*find_packages(), *find_device(device)]
        self._microjoules = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.facts: dict[str, Any] = {"watt_hours": None, "method": "unavailable"}

    def __enter__(self) -> "EnergyMeter":
        self._last = [read() for _, read, _ in self._counters]
        if self._counters:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._counters:
            return
        self._stop.set()
        self._thread.join()
        self._add()
        methods = " + ".join(dict.fromkeys(name for name, _, _ in self._counters))
        self.facts = {"watt_hours": round(self._microjoules / 3.6e9, 6), "method": methods}

    def _watch(self) -> None:
        while not self._stop.wait(_SECONDS):
            self._add()

    def _add(self) -> None:
        for place, (_, read, limit) in enumerate(self._counters):
            now = read()
            gone = now - self._last[place]
            self._microjoules += gone + (limit or 0) if gone < 0 else gone
            self._last[place] = now


def find_packages(folder: Path = POWERCAP) -> list[Counter]:
    """The readable counters of CPU packages: `intel-rapl:<n>`, also on AMD; most systems let the administrator alone."""
    found: list[Counter] = []
    for path in sorted(folder.glob("intel-rapl:*")):
        if path.name.count(":") > 1:  # a part of a package
            continue
        try:
            limit, counter = int((path / "max_energy_range_uj").read_text()), path / "energy_uj"
            counter.read_text()
        except (OSError, ValueError):
            continue
        found.append(("rapl", lambda counter=counter: int(counter.read_text()), limit))  # type: ignore[misc]
    return found


def find_device(device: torch.device) -> list[Counter]:
    """The counter of a CUDA device, since the driver was loaded (Volta and later)."""
    if device.type != "cuda":
        return []
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    handle, value = ctypes.c_void_p(), ctypes.c_ulonglong()
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()

    def read() -> int:
        library.nvmlDeviceGetTotalEnergyConsumption(
            handle, ctypes.byref(value)
        )  # keeps the last value where it fails
        return int(value.value) * 1000  # millijoules

    ready = library.nvmlInit_v2() == 0 and library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle)) == 0
    return [("nvml", read, None)] if ready and read() else []
