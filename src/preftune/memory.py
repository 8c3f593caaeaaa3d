"""Resident memory of this process: what it holds now, and the most that it held (Linux; elsewhere only since the start)."""

import resource
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_highest = 0  # of the time before the last reset


def resident_bytes() -> int | None:
    """What the process holds now; None where the system does not say."""
    return _read("VmRSS")


def peak_bytes() -> int:
    """The most that the process has held so far, resets or not (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(_highest, peak if sys.platform == "darwin" else peak * 1024)


def reset_peak() -> bool:
    """Let `peak_since_reset` start anew; False where the system cannot."""
    global _highest
    highest = peak_bytes()
    try:
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set
    except OSError:
        return False
    _highest = highest
    return True


def peak_since_reset() -> int | None:
    """The most that the process has held since `reset_peak`; None where the system does not say."""
    return _read("VmHWM")


def _read(key: str) -> int | None:
    try:
        text = _STATUS.read_text()
    except OSError:
        return None
    return int(text.split(f"{key}:")[1].split()[0]) * 1024
