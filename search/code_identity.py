"""Which program this is: its packages by version, and its own code by hash. No torch, no Ray."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("spvit", "latency_tables", "trainers", "search")
PRODUCT = "spvit-search"
COMPARED = ("ray", "torch")
"""Packages that the driver and every machine of a cluster must have in one version."""
DECIDING = ("numpy", "optuna", "ray", "scipy", PRODUCT, "timm", "torch", "torchvision")
"""Packages whose versions decide what a trial gives or which is proposed."""
OTHER_CODE = ("search/commands", "search/verify")
"""Parts that neither propose nor train."""
ABSENT = "not installed"
_ROOT = Path(__file__).resolve().parents[1]


def package_folders() -> tuple[Path, ...]:
    """Where this product's packages are imported from."""
    return tuple(_ROOT / name for name in PACKAGES)


def versions_here() -> dict[str, str]:
    """Versions of Python, Ray, torch and this product, by name.

    The product's is a hash of its sources: a machine may have them without having installed them.
    """
    others = {name: _version(name) or ABSENT for name in COMPARED}
    return {"python": platform.python_version(), **others, PRODUCT: f"code {code_hash()[:12]}"}


@cache
def package_versions() -> Mapping[str, str]:
    """The versions of the deciding packages; one that is not installed as a distribution is left out."""
    return {name: found for name in DECIDING if (found := _version(name)) is not None}


@cache
def code_hash() -> str:
    """SHA-256 of every Python source of this product, in hexadecimal: the same on each machine with the same code."""
    return _sha256(path for folder in package_folders() for path in folder.rglob("*.py"))


@cache
def code_sha256() -> str:
    """The hash of every source file that decides what a trial gives or which is proposed."""
    sources = (path for folder in package_folders() for path in folder.rglob("*.py"))
    return _sha256(path for path in sources if not _name(path).startswith(OTHER_CODE))


def _sha256(paths: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{_name(path)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def _name(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
