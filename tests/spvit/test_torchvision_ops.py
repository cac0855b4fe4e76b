import subprocess
import sys

import pytest


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["spvit", "spvit.schedule", "spvit.errors"])
def test_timm_imports_after_anything_of_spvit(module: str) -> None:
    assert python(f"import {module}; import timm; print(timm.is_model('deit_tiny_patch16_224'))") == "True"


def test_spvit_is_free_of_torch_until_a_name_needs_it() -> None:
    code = "import sys, spvit\nspvit.PruningSchedule; early = 'torch' in sys.modules\n"
    code += "spvit.PrunedViT; print(early, 'torch' in sys.modules)"
    assert python(code) == "False True"


def test_every_public_name_can_be_loaded() -> None:
    assert python("import spvit; print(all(getattr(spvit, n).__name__ == n for n in spvit.__all__))") == "True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import spvit

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = spvit.nonsense


def test_installing_twice_leaves_one_finder() -> None:
    code = (
        "import sys; n = len(sys.meta_path); import spvit; from spvit import torchvision_ops as t; t.install();"
        "m = len(sys.meta_path); import torchvision; print(m - n, len(sys.meta_path) - n)"
    )
    assert python(code) == "1 0"


def test_operators_that_exist_are_left_alone() -> None:
    code = (
        "import torch; lib = torch.library.Library('torchvision', 'DEF');"
        "from spvit import torchvision_ops as t; [lib.define(s) for s in t.SCHEMAS.values()];"
        "t.ensure_operators(); import torchvision; print(len(t._libraries))"
    )
    assert python(code) == "0"
