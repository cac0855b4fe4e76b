"""Whether torch can compile is found out before training, and what it compiles computes the same."""

from pathlib import Path

import pytest
import torch
from torch import nn

from spvit.errors import ConfigError
from trainers.compiling import compile_blocks

CPU = torch.device("cpu")


def test_missing_compiler_is_named_with_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    no_compiler = config.patch({"cpp.cxx": ("/nowhere/c++",), "force_disable_caches": True})
    with no_compiler, pytest.raises(ConfigError, match=r"training\.compile = true was set, but torch cannot compile"):
        compile_blocks(nn.Linear(1, 1), CPU)
    torch.compiler.reset()


def test_compiled_blocks_compute_the_same_under_the_same_names() -> None:
    torch.manual_seed(0)
    module = nn.ModuleDict({"blocks": nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), "head": nn.Linear(3, 2)})
    x, names = torch.randn(6, 5), list(module.state_dict())
    expected = module["head"](module["blocks"](x))
    try:
        compile_blocks(module, CPU)
    except ConfigError:
        pytest.skip("there is no C++ compiler here")
    assert [child._compiled_call_impl is not None for child in module["blocks"]] == [True, True]
    torch.testing.assert_close(module["head"](module["blocks"](x)), expected)
    assert list(module.state_dict()) == names
