"""How much of the machine a trial uses, under the names that MLflow shows as system metrics."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEGABYTE = 1e6
GPU_QUERY = ("--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")
GPU_LIMIT_S = 5.0


class UsageMeter:
    """Tells what this process and its machine used since it was last asked. Linux only; elsewhere it tells less.

    Args:
        clock: seconds; only differences count.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before = (clock(), _process_cpu_s(), _machine_ticks())

    def take(self) -> dict[str, float]:
        """Means since the last call, and what is in use now.

        `system/process_cpu_percentage` is 100 for one core. Memory is in megabytes of 1e6 bytes.
        """
        now = (self._clock(), _process_cpu_s(), _machine_ticks())
        (then_s, then_cpu_s, then_ticks), self._before = self._before, now
        values = _memory() | _gpu()
        if now[0] > then_s:
            values["system/process_cpu_percentage"] = 100 * (now[1] - then_cpu_s) / (now[0] - then_s)
        if now[2] is not None and then_ticks is not None and now[2][1] > then_ticks[1]:
            busy, total = now[2][0] - then_ticks[0], now[2][1] - then_ticks[1]
            values["system/cpu_utilization_percentage"] = 100 * busy / total
        return values


def _process_cpu_s() -> float:
    """Of this process and its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _machine_ticks() -> tuple[int, int] | None:
    """Busy and all ticks of the machine's processors."""
    try:
        ticks = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    idle = sum(ticks[3:5])
    return sum(ticks) - idle, sum(ticks)


def _memory() -> dict[str, float]:
    try:
        status = _kilobytes(Path("/proc/self/status"))
        machine = _kilobytes(Path("/proc/meminfo"))
        used = machine["MemTotal"] - machine["MemAvailable"]
        return {
            "system/process_memory_megabytes": status["VmRSS"] * 1024 / MEGABYTE,
            "system/system_memory_usage_megabytes": used * 1024 / MEGABYTE,
            "system/system_memory_usage_percentage": 100 * used / machine["MemTotal"],
        }
    except (OSError, KeyError):
        return {}


def _kilobytes(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


def _gpu() -> dict[str, float]:
    """Of the GPU that this process trains on, if it does."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    device = torch.cuda.current_device()
    values = {"system/gpu_0_process_peak_memory_megabytes": torch.cuda.max_memory_allocated(device) / MEGABYTE}
    torch.cuda.reset_peak_memory_stats(device)
    return values | _nvidia_smi("GPU-" + str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-"))


def _nvidia_smi(uuid: str) -> dict[str, float]:
    """Utilisation and memory of a GPU, as its driver counts them right now."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    try:
        done = subprocess.run(
            [tool, f"--id={uuid}", *GPU_QUERY], check=True, capture_output=True, text=True, timeout=GPU_LIMIT_S
        )
        utilisation, mebibytes = (float(value) for value in done.stdout.split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {
        "system/gpu_0_utilization_percentage": utilisation,
        "system/gpu_0_memory_usage_megabytes": mebibytes * 2**20 / MEGABYTE,
    }
