"""The machine at hand, so far as the times that are measured on it depend on it."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def processor() -> str:
    """The model of the processor."""
    with suppress(OSError):
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(r"^(?:model name|Model)\s*: (.*)$", cpuinfo, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def governor() -> str:
    """How the system chooses the clock rate; "unknown" where it does not say, as on many virtual machines."""
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def load() -> float | None:
    """Processes that ran or waited to, on average over the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def versions(distributions: Iterable[str]) -> str:
    """Of Python and of some packages."""
    return ", ".join(
        [
            f"Python {platform.python_version()}",
            *(f"{name} {importlib.metadata.version(name)}" for name in distributions),
        ]
    )
