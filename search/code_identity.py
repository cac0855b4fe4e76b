"""Which program this is: its packages by version, and its own code by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DECIDING = ("numpy", "optuna", "ray", "scipy", "spvit-search", "timm", "torch", "torchvision")
"""Packages whose versions decide what a trial gives or which is proposed."""
CODE = ("spvit", "latency_tables", "trainers", "search")
OTHER_CODE = ("search/commands", "search/verify")
"""Parts that neither propose nor train."""


@cache
def package_versions() -> Mapping[str, str]:
    """The versions of the deciding packages; one that is not installed as a distribution is left out."""
    return {name: found for name in DECIDING if (found := _version(name)) is not None}


@cache
def code_sha256() -> str:
    """The hash of every source file that decides what a trial gives or which is proposed."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for package in CODE for path in (root / package).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(OTHER_CODE):
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
