"""Lets timm import torchvision where torchvision's compiled operators do not fit the installed torch.

PyPI's torchvision wheel is linked against CUDA. Beside a CPU build of torch its library cannot be loaded, and
`import torchvision`, hence `import timm`, ends with "operator torchvision::nms does not exist": a schema that nothing
here calls. Declaring the schemas makes the import succeed; a torchvision that matches its torch is left alone.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

# torchvision 0.28 registers shape functions for these two while it is imported.
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[Any] = []  # a schema lives as long as the torch.library.Library that declared it


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing: acts once, when torchvision is first looked for."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        ensure_operators()
        return None


def install() -> None:
    """Have `ensure_operators` called before torchvision is imported. Costs nothing if it never is."""
    if "torchvision" in sys.modules or any(type(f).__name__ == _BeforeTorchvision.__name__ for f in sys.meta_path):
        return
    sys.meta_path.insert(0, _BeforeTorchvision())


def ensure_operators() -> None:
    """Load torchvision's operators; declare the schemas that are missing if they cannot be loaded."""
    spec = PathFinder.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return
    folder = Path(spec.submodule_search_locations[0])
    if not _load_library(folder):
        _declare_missing()


def _load_library(folder: Path) -> bool:
    import torch

    operators: Any = torch.ops
    libraries = [*folder.glob("_C*.so"), *folder.glob("_C*.pyd"), *folder.glob("_C*.dylib")]
    try:
        for library in libraries:
            operators.load_library(library)
    except OSError:
        return False
    return bool(libraries)


def _declare_missing() -> None:
    import torch

    missing = [schema for name, schema in SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return
    library_class: Any = torch.library.Library
    library = library_class("torchvision", "FRAGMENT")
    for schema in missing:
        library.define(schema)
    _libraries.append(library)
