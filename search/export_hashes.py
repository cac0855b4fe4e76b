"""What an export is made of, as hashes and versions: whoever has them can tell whether anything was changed."""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata
from pathlib import Path

from trainers.safe_folder import file_hash

PACKAGES = ("spvit-search", "torch", "torchvision", "timm", "numpy", "safetensors", "onnx", "onnxruntime")
CODE = ("spvit", "trainers", "latency_tables", "search")


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by name."""
    return {path.name: file_hash(path) for path in sorted(folder.iterdir()) if path.is_file()}


def code_sha256() -> str:
    """SHA-256 of the sources of this program's packages, by their names and contents."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for package in CODE:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\0{file_hash(path)}\n".encode())
    return digest.hexdigest()


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a model computes and how fast; empty where missing."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
