"""Every engine computes what eager PyTorch computes, and says so where it cannot run."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from latency_tables.engine import engine_for
from latency_tables.engine_compiled import CompiledEngine
from latency_tables.engine_onnx import OnnxEngine
from latency_tables.key import DType, Runtime, SelectorOptions
from latency_tables.parts import Parts
from spvit.errors import ConfigError
from spvit.factory import create_backbone
from spvit.options import SelectorKind
from spvit.pruning import prune
from spvit.schedule import PruningSchedule

ARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 3}


@pytest.fixture(scope="module")
def backbone() -> VisionTransformer:
    torch.manual_seed(0)
    return create_backbone("vit_tiny_patch16_224", args=ARGS)


def parts_of(backbone: Any, runtime: Runtime) -> Parts:
    return Parts(
        backbone,
        batch_size=1,
        dtype=DType.FLOAT32,
        device="cpu",
        selector=SelectorOptions(),
        engine=engine_for(runtime),
    )


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.as_tensor(actual), expected, atol=1e-5, rtol=1e-4)


def test_a_call_takes_the_next_module_each_time() -> None:
    modules = [nn.Linear(3, 2) for _ in range(3)]
    x = torch.ones(1, 3)
    work = engine_for(Runtime.EAGER).work(modules, (x,))
    for module in (*modules, modules[0]):
        torch.testing.assert_close(work(), module(x))


def test_onnxruntime_computes_the_same_parts(backbone: VisionTransformer) -> None:
    eager, onnx = parts_of(backbone, Runtime.EAGER), parts_of(backbone, Runtime.ONNXRUNTIME)
    with torch.inference_mode():
        close(onnx.stem()()[0], eager.stem()())  # type: ignore[index]
        close(onnx.head()()[0], eager.head()())  # type: ignore[index]
        for num_tokens in (2, 17, 5):
            close(onnx.block(num_tokens)()[0], eager.block(num_tokens)())  # type: ignore[index]
        last = onnx.last_block(9), eager.last_block(9)
        assert None not in last
        close(last[0]()[0], last[1]())  # type: ignore[misc, index]
        close(onnx.dense()()[0], eager.dense()())  # type: ignore[index]


def test_onnxruntime_selects_as_many_tokens(backbone: VisionTransformer) -> None:
    onnx = parts_of(backbone, Runtime.ONNXRUNTIME)
    with torch.inference_mode():
        tokens, *_ = onnx.selections([11], SelectorKind.LIGHT)[11]()()  # type: ignore[misc]
    assert tokens.shape == (1, 1 + 7 + 1, 24)


def test_one_export_serves_every_number_of_tokens(backbone: VisionTransformer) -> None:
    engine = OnnxEngine()
    blocks = list(backbone.eval().blocks)
    works = [engine.work(blocks, (torch.zeros(1, n, 24),), any_num_tokens=True) for n in (1, 2, 9)]
    assert [work()[0].shape for work in works] == [(1, n, 24) for n in (1, 2, 9)]  # type: ignore[index]
    assert len(engine._sessions) == 1
    assert len(engine._shared(blocks, ())) == len(blocks)


def test_onnxruntime_runs_a_pruned_model(backbone: VisionTransformer) -> None:
    model = prune(backbone, PruningSchedule.from_keep_rates([0.5], [1])).eval()
    images = torch.randn(2, 3, 32, 32)
    run = engine_for(Runtime.ONNXRUNTIME).model(model, images)
    with torch.inference_mode():
        close(run(images)[0], model(images))  # type: ignore[index]


def test_what_cannot_be_exported_is_said_to_run_eagerly() -> None:
    class Choosing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ConfigError, match=r"Choosing cannot be exported to ONNX: .* Set latency.runtime = \"eager\""):
        engine_for(Runtime.ONNXRUNTIME).model(Choosing(), torch.ones(4))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"the package {package}\S* is not installed. Install .*\[onnxruntime\]"):
        engine_for(Runtime.ONNXRUNTIME)


def test_compiled_blocks_compute_the_same_at_every_number_of_tokens(backbone: VisionTransformer) -> None:
    eager = parts_of(backbone, Runtime.EAGER)
    try:
        compiled = parts_of(backbone, Runtime.COMPILED)
    except ConfigError:
        pytest.skip("there is no C++ compiler here")
    with torch.inference_mode():
        for num_tokens in (5, 17):
            close(compiled.block(num_tokens)(), eager.block(num_tokens)())
        close(compiled.dense()(), eager.dense()())
    assert all(block._compiled_call_impl is not None for block in compiled._blocks[0])
    assert all(block._compiled_call_impl is None for block in backbone.blocks)


def test_blocks_that_are_compiled_are_not_compiled_again(backbone: VisionTransformer) -> None:
    engine, parts = CompiledEngine(), parts_of(backbone, Runtime.COMPILED)
    before = [block._compiled_call_impl for block in parts._blocks[0]]
    engine.adopt(prune(parts._backbone, PruningSchedule.from_keep_rates([0.5], [1])))
    assert [block._compiled_call_impl for block in parts._blocks[0]] == before


def test_a_missing_compiler_is_named_with_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    no_compiler = config.patch({"cpp.cxx": ("/nowhere/c++",), "force_disable_caches": True})
    with no_compiler, pytest.raises(ConfigError, match=r'latency\.runtime = "compiled" was set, but torch cannot'):
        CompiledEngine().check(torch.device("cpu"))
    torch.compiler.reset()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_recorded_parts_share_their_memory() -> None:
    """Thirty graphs take as much memory beside their inputs as three, give or take what allocators round up."""
    engine, module = engine_for(Runtime.CUDA_GRAPH), nn.Linear(1024, 1024, device="cuda")
    inputs = (torch.zeros(8192, 1024, device="cuda"),)  # 32 MiB, as is the output
    with torch.inference_mode():
        works = [engine.work([module], inputs) for _ in range(3)]
        before = torch.cuda.memory_reserved()
        works += [engine.work([module], inputs) for _ in range(27)]
        torch.cuda.empty_cache()  # what warming up left on streams of its own
        for work in works:
            work()
    assert torch.cuda.memory_reserved() - before < 27 * 32 * 2**20 / 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_recorded_model_reads_new_images(backbone: VisionTransformer) -> None:
    model = prune(backbone, PruningSchedule.from_keep_rates([0.5], [1])).eval().cuda()
    run = engine_for(Runtime.CUDA_GRAPH).model(model, torch.zeros(2, 3, 32, 32, device="cuda"))
    images = torch.randn(2, 3, 32, 32, device="cuda")
    with torch.inference_mode():
        close(run(images), model(images))
