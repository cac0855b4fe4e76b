"""Which code this is: versions, and a hash of the sources that are really imported. No torch, no Ray."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("spvit", "latency_tables", "trainers", "search")
PRODUCT = "spvit-search"
COMPARED = ("ray", "torch")
ABSENT = "not installed"
_ROOT = Path(__file__).resolve().parents[1]


def package_folders() -> tuple[Path, ...]:
    """Where this product's packages are imported from."""
    return tuple(_ROOT / name for name in PACKAGES)


def versions_here() -> dict[str, str]:
    """Versions of Python, Ray, torch and this product, by name.

    The product's is a hash of its sources: a machine may have them without having installed them.
    """
    others = {name: _version(name) for name in COMPARED}
    return {"python": platform.python_version(), **others, PRODUCT: f"code {code_hash()[:12]}"}


@cache
def code_hash() -> str:
    """SHA-256 of every Python source of this product, in hexadecimal: the same on each machine with the same code."""
    total = hashlib.sha256()
    for folder in package_folders():
        for path in sorted(folder.rglob("*.py")):
            total.update(path.relative_to(_ROOT).as_posix().encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ABSENT
