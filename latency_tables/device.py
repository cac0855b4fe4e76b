"""Which device a latency belongs to. No torch, so that a foreign table is refused before anything heavy is loaded."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from spvit.gpu import check_gpu

# The instruction sets that PyTorch's CPU kernels choose between: the same CPU name with other flags is another device.
# fmt: off
_RELEVANT_FLAGS = frozenset({
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "asimdhp", "asimddp", "bf16",
    "i8mm", "sve", "sve2",
})
# fmt: on


_LESSER = ("torch_version", "timm_version", "runtime_version", "gpu_driver")
"""Fields whose differences may change times a little: they are warned of, but for another release of torch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFingerprint:
    """What of a machine decides how fast a model runs on it.

    `gpu_name` and `gpu_driver` are empty on a CPU; `runtime_version` is empty where torch itself runs the model. A
    version that is empty is not known, and compared with nothing.
    """

    cpu_model: str
    isa_flags: tuple[str, ...]
    logical_cores: int
    usable_cores: int
    gpu_name: str = ""
    gpu_driver: str = ""
    torch_version: str
    system: str
    timm_version: str = ""
    runtime_version: str = ""

    @classmethod
    def detect(cls, device: str = "cpu", *, runtime: str = "eager") -> DeviceFingerprint:
        """The fingerprint of this machine.

        Args:
            device: a torch device such as `cpu` or `cuda:0`.
            runtime: what executes the model, as in `Runtime`; where that is a package of its own, its version counts.

        Raises:
            ConfigError: there is no such GPU.
        """
        check_gpu(device, key="latency.device")
        on_gpu = device.startswith("cuda")
        return cls(
            cpu_model=_cpu_model(),
            isa_flags=_isa_flags(),
            logical_cores=os.cpu_count() or 1,
            usable_cores=usable_cores(),
            gpu_name=_gpu_name(device) if on_gpu else "",
            gpu_driver=_gpu_driver() if on_gpu else "",
            torch_version=metadata.version("torch"),
            system=f"{platform.system()} {platform.machine()}",
            timm_version=_version("timm"),
            runtime_version=_version(runtime) if runtime == "onnxruntime" else "",
        )

    @property
    def id(self) -> str:
        """A readable name with a hash, such as `intel-xeon-1a2b3c4d`; equal where there are no `differences`."""
        digest = hashlib.sha256(repr(sorted(self._decisive.items())).encode()).hexdigest()[:8]
        return f"{_slug(self.gpu_name or self.cpu_model)}-{digest}"

    def differences(self, other: DeviceFingerprint) -> tuple[str, ...]:
        """Names of the fields that make two devices different ones: times of the one say nothing about the other."""
        mine, theirs = self._decisive, other._decisive
        return tuple(name for name in mine if mine[name] != theirs[name])

    def lesser_differences(self, other: DeviceFingerprint) -> tuple[str, ...]:
        """Names of the fields that differ on one and the same device, after an update of a library or a driver."""
        mine, theirs = asdict(self), asdict(other)
        decisive = self.differences(other)
        known = (name for name in _LESSER if mine[name] and theirs[name] and name not in decisive)
        return tuple(name for name in known if mine[name] != theirs[name])

    @property
    def _decisive(self) -> dict[str, object]:
        """What a table is refused for. Of torch it is the release, such as 2.13: its patches keep the kernels.

        Usable cores do not count: they change with every affinity mask, and the number of threads is a key of its own.
        """
        facts = {name: value for name, value in asdict(self).items() if name not in {"usable_cores", *_LESSER}}
        return facts | {"torch_version": ".".join(self.torch_version.split(".")[:2])}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _slug(text: str) -> str:
    plain = re.sub(r"\((r|tm|c)\)", "", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "unknown"


def _cpu_info(*names: str) -> str:
    """The first value of any of these keys in Linux's /proc/cpuinfo, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() in names), "")


def _cpu_model() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine() or "unknown"


def _isa_flags() -> tuple[str, ...]:
    return tuple(sorted(_RELEVANT_FLAGS & set(_cpu_info("flags", "Features").split())))


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpu_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device)


def _gpu_driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    version = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return version.group() if version else "unknown"
