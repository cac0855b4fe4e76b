"""The peers that pruned_inference.py compares us with do what their papers say."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import engines
from engines import ONNX_PACKAGES, Engine, logits_of, runner
from executed_macs import executed_macs
from ideal import Ideal
from inference_networks import our_networks, peer_networks
from peers import dynamicvit, evit, tome
from peers.dynamicvit import DynamicViT
from peers.evit import EViT
from peers.tome import ToMe

from latency_tables.engine import engine_for
from latency_tables.key import Runtime
from spvit.options import HeadWeighting, SelectorKind
from spvit.widths import macs_counter

NUM_PATCHES, DEPTH = 64, 6


@pytest.fixture
def backbone(make_backbone: Callable[..., Any]) -> Any:
    """With weights that make tokens differ: timm's own start is close to uniform attention."""
    model = make_backbone()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.15)
    return model


@pytest.fixture
def deep_backbone(make_backbone: Callable[..., Any]) -> Any:
    """Twelve blocks, as the benchmark needs them."""
    return make_backbone(depth=12)


def counted_tokens(model: Any, images: Tensor) -> list[tuple[int, int]]:
    """Tokens that really enter the attention and the MLP of each block."""
    seen: list[int] = []
    hooks = [
        part.register_forward_hook(lambda _module, given, _out: seen.append(given[0].shape[1]))
        for block in model.backbone.blocks
        for part in (block.attn.proj, block.mlp)
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return list(zip(seen[::2], seen[1::2], strict=True))


def test_keeping_everything_is_the_dense_model(backbone: Any, images: Tensor) -> None:
    with torch.no_grad():
        dense = backbone(images)
        for model in (ToMe(backbone, 0), EViT(backbone, {2: NUM_PATCHES}), DynamicViT(backbone, {2: NUM_PATCHES})):
            torch.testing.assert_close(model(images), dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "make", [lambda b: ToMe(b, 7), lambda b: EViT(b, {1: 40, 3: 20}), lambda b: DynamicViT(b, {1: 40, 3: 20})]
)
def test_blocks_see_as_many_tokens_as_they_say(backbone: Any, images: Tensor, make: Callable[[Any], Any]) -> None:
    model = make(backbone)
    assert counted_tokens(model, images) == model.block_tokens()
    with torch.no_grad():
        assert not torch.allclose(model(images), backbone(images), atol=1e-3)


def test_token_counts_are_those_of_the_papers(backbone: Any) -> None:
    kept, all_tokens = {1: 40, 3: 20}, (65, 65)
    assert DynamicViT(backbone, kept).block_tokens() == [all_tokens, (41, 41), (41, 41), (21, 21), (21, 21), (21, 21)]
    assert EViT(backbone, kept).block_tokens() == [all_tokens, (65, 42), (42, 42), (42, 22), (22, 22), (22, 22)]
    assert ToMe(backbone, 7).block_tokens() == [(65 - 7 * block, 58 - 7 * block) for block in range(DEPTH)]
    assert ToMe(backbone, 50).block_tokens()[:3] == [(65, 33), (33, 17), (17, 9)]


def test_dynamicvit_keeps_the_best_patches_behind_the_class_token(backbone: Any) -> None:
    predictor, x = dynamicvit.Predictor(48).eval(), torch.randn(3, 65, 48)
    with torch.no_grad():
        left = DynamicViT._kept(x, predictor, 9)
        for image, scores, tokens in zip(x, predictor(x[:, 1:]), left, strict=True):
            assert torch.equal(tokens[0], image[0])
            assert torch.equal(tokens[1:], image[1:][scores.argsort(descending=True)[:9]])


def test_dynamicvits_predictor_joins_each_token_with_the_mean_of_all() -> None:
    predictor, x = dynamicvit.Predictor(16).eval(), torch.randn(2, 5, 16)
    with torch.no_grad():
        z = predictor.enter(x)
        mean = z[..., 8:].mean(1)
        joined = torch.stack([torch.cat((z[:, n, :8], mean), dim=-1) for n in range(5)], dim=1)
        torch.testing.assert_close(predictor(x), predictor.leave(joined).softmax(-1)[..., 0].log())


def test_evit_reads_the_class_tokens_row_of_the_attention(backbone: Any) -> None:
    block, x = backbone.blocks[0], torch.randn(2, 30, 48)
    with torch.no_grad():
        attended, row = evit.attend(block.attn, x)
        q, k = block.attn.qkv(x).reshape(2, 30, 3, 3, 16).permute(2, 0, 3, 1, 4)[:2]
        spread = (q @ k.transpose(-2, -1) * 16**-0.5).softmax(-1)
        torch.testing.assert_close(row, spread[:, :, 0, 1:].mean(1))
        torch.testing.assert_close(attended, block.attn(x), rtol=1e-4, atol=1e-5)


def test_evit_fuses_what_it_drops_by_attention() -> None:
    x, attention = torch.randn(2, 8, 4), torch.rand(2, 7)
    left = evit.reorganised(x, attention, 3)
    for image, shares, tokens in zip(x, attention, left, strict=True):
        order = shares.argsort(descending=True) + 1
        dropped = sum(shares[n - 1] * image[n] for n in order[3:])
        torch.testing.assert_close(tokens, torch.stack([image[0], *image[order[:3]], dropped]))


def test_tome_merges_the_most_similar_pairs_and_no_class_token() -> None:
    key = torch.randn(2, 9, 6)
    stay, source, target = tome.match(key, 2)
    for k, stays, goes, takes in zip(key, stay, source, target, strict=True):
        unit = k / k.norm(dim=-1, keepdim=True)
        closest = {even: max((float(unit[2 * even] @ unit[2 * odd + 1]), odd) for odd in range(4)) for even in range(5)}
        best = sorted(range(1, 5), key=lambda even: closest[even][0], reverse=True)[:2]
        assert goes.flatten().tolist() == best
        assert takes.flatten().tolist() == [closest[even][1] for even in best]
        assert stays.flatten().tolist() == [even for even in range(5) if even not in best]


def test_tome_merges_by_size_and_loses_nothing() -> None:
    x, size, key = torch.randn(2, 9, 4), torch.randint(1, 5, (2, 9, 1)).float(), torch.randn(2, 9, 6)
    merged, sizes = tome.merge(x, size, key, 3)
    assert merged.shape == (2, 6, 4)
    torch.testing.assert_close(sizes.sum(1), size.sum(1))
    torch.testing.assert_close((merged * sizes).sum(1), (x * size).sum(1))
    torch.testing.assert_close(merged[:, 0], x[:, 0])


def test_tome_attends_to_a_token_of_size_two_as_to_two_equal_ones(backbone: Any) -> None:
    attn, x = backbone.blocks[0].attn, torch.randn(2, 10, 48)
    twice = torch.cat((x, x[:, -1:]), dim=1)
    size = torch.ones(2, 10, 1)
    size[:, -1] = 2.0
    with torch.no_grad():
        once, key = tome.attend(attn, x, size)
        expected, _ = tome.attend(attn, twice, None)
    torch.testing.assert_close(once, expected[:, :10], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(key, attn.qkv(x).reshape(2, 10, 3, 3, 16).mean(3)[:, :, 1])


def test_executed_macs_of_the_dense_model_are_those_of_the_formula(deep_backbone: Any) -> None:
    dense = our_networks(deep_backbone, 1.0)[0]
    count = macs_counter(deep_backbone, selector=SelectorKind.LIGHT, weighting=HeadWeighting.SENET)
    assert executed_macs(deep_backbone, torch.randn(1, 3, 32, 32)) == dense.executed_macs == count(dense.model.plan)


def test_the_networks_of_the_benchmark_have_equal_token_counts(deep_backbone: Any) -> None:
    ours = our_networks(deep_backbone, 0.7)
    dynamic, fused, merging = peer_networks(deep_backbone, ours[0])
    leaving = [tokens for _, tokens in ours[0].block_tokens]
    assert [tokens for _, tokens in dynamic.block_tokens] == leaving
    assert [tokens for _, tokens in fused.block_tokens] == leaving
    others = [executed_macs(ToMe(deep_backbone, r), torch.randn(1, 3, 32, 32)) for r in range(1, 6)]
    assert abs(merging.macs - ours[0].macs) == min(abs(macs - ours[0].macs) for macs in others)


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_ideal_runs_the_same_blocks_and_nothing_else(deep_backbone: Any, images: Tensor, is_ours: bool) -> None:
    ours = our_networks(deep_backbone, 0.7)
    network = ours[1] if is_ours else peer_networks(deep_backbone, ours[0])[1]
    ideal = Ideal(deep_backbone, images, network.block_tokens, shortens_last=is_ours)
    expected = list(network.block_tokens)
    if is_ours:
        expected[-1] = (1, 1)
    assert counted_tokens(ideal, images) == expected
    with torch.no_grad():
        assert ideal(images).shape == (3, 7)


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> list[Runtime]:
    """The program's runtimes that engines have asked for."""
    asked: list[Runtime] = []

    def watched(runtime: Runtime, *, num_threads: int) -> Any:
        asked.append(runtime)
        return engine_for(runtime, num_threads=num_threads)

    monkeypatch.setattr(engines, "engine_for", watched)
    return asked


TOLERANCES = {Engine.EAGER: 0.0, Engine.BF16: 0.1, Engine.ONNX: 1e-4}
RUNTIMES = {Engine.EAGER: [], Engine.BF16: [Runtime.EAGER], Engine.ONNX: [Runtime.ONNXRUNTIME]}


@pytest.mark.parametrize("engine", TOLERANCES)
def test_an_engine_gives_the_answers_of_the_model_in_the_programs_own_runtime(
    deep_backbone: Any, images: Tensor, runtimes: list[Runtime], engine: Engine
) -> None:
    """Compiling is left out, as it takes long."""
    if engine.is_onnx:
        for package in ONNX_PACKAGES:
            pytest.importorskip(package)
    model = our_networks(deep_backbone, 0.7)[1].model
    with torch.no_grad():
        exact = model(images)
    difference = (logits_of(runner(engine, model, images), images, len(images)) - exact).norm() / exact.norm()
    assert float(difference) <= TOLERANCES[engine]
    assert runtimes == RUNTIMES[engine]
