"""What token pruning could gain on a Swin transformer, whose windows need the whole grid of patches.

    python benchmarks/swin.py [--quick] [--json FILE] [--keep 0.7] [--batch 8]

swin_tiny at 224 x 224 with random weights. A light selector stands where each level but the first begins, right after
patch merging, and keeps so many of the level's patches; the others stay in the grid as they are until the next merging.
Forms, from the least to the most that is not computed for dropped patches:

    mlp      no MLP; attention is that of the dense model
    linear   no linear layer at all; windows have their 49 slots, the dropped ones masked
    padded   the same, and windows have as many slots as the fullest one of the batch needs

With random weights the kept patches are scattered, and all windows are about equally full. `padded, object` keeps the
patches around a point instead, as selectors do that have learnt where the object is: there full windows stay full.
All use torch's fused attention, the dense model too; `timm's default` is the dense model without, as timm makes it.

Timed in shuffled rounds, each sample as a ratio to the dense model just before and after it; one thread, CPU time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from bars import Bar, finish, parser
from torch import Tensor, nn
from torch.nn import functional

from latency_tables.timing import compare_models
from spvit.decision import top_k_indices
from spvit.light_selector import LightSelector
from spvit.selection import take

FORMS = ("mlp", "linear", "padded")
NAME = "swin_tiny_patch4_window7_224"
TARGET_SPEEDUP = 1.1
Attend = Callable[[Any, Tensor, Tensor, int], Tensor]


class PrunedSwin(nn.Module):
    """A Swin transformer that leaves work out for dropped patches. `keep_rate` 1 is timm's model in other words."""

    def __init__(self, backbone: Any, form: str, keep_rate: float, *, is_clustered: bool = False) -> None:
        super().__init__()
        self.is_clustered = is_clustered
        self.backbone, self.form, self.keep_rate = backbone, form, keep_rate
        self.selectors = nn.ModuleList(LightSelector(level.blocks[0].dim) for level in backbone.layers[1:])
        self.orders = [[window_order(block) for block in level.blocks] for level in backbone.layers]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W)."""
        first, *later = self.backbone.layers
        grid = first(self.backbone.patch_embed(images))
        for number, level in enumerate(later, start=1):
            grid = self._level(level, level.downsample(grid), self.selectors[number - 1], self.orders[number])
        return self.backbone.forward_head(self.backbone.norm(grid))

    def _level(self, level: Any, grid: Tensor, selector: LightSelector, orders: list[Tensor]) -> Tensor:
        tokens = grid.flatten(1, 2)
        margin = selector(tokens).margin
        if self.is_clustered:
            margin = 1e-6 * margin - distance(level.output_resolution).expand(len(tokens), -1)
        kept = top_k_indices(margin, round(self.keep_rate * tokens.shape[1]))
        if self.form == "mlp":
            return run_mlp(level, tokens, kept).view(grid.shape)
        attend = attend_padded if self.form == "padded" else attend_whole
        return run_linear(level, tokens, kept, orders, attend).view(grid.shape)


def window_order(block: Any) -> Tensor:
    """Patch numbers (N,) in the order of a block's windows; (windows x 49) slots."""
    height, width = block.input_resolution
    (high, wide), (down, right) = block.window_size, block.shift_size
    numbers = torch.arange(height * width).view(height, width).roll((-down, -right), (0, 1))
    return numbers.view(height // high, high, width // wide, wide).transpose(1, 2).reshape(-1)


def distance(grid: tuple[int, int]) -> Tensor:
    """Of each patch (1, N) to a point near the middle of a grid, in widths of the grid."""
    down, right = (torch.linspace(0, 1, size) for size in grid)
    return ((down[:, None] - 0.45) ** 2 + (right - 0.55) ** 2).sqrt().view(1, -1)


def put(values: Tensor, index: Tensor, whole: Tensor) -> Tensor:
    """`whole` (B, N, C) with values (B, K, C) at positions (B, K)."""
    return whole.scatter(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]), values)


def run_mlp(level: Any, tokens: Tensor, kept: Tensor) -> Tensor:
    grid = (len(tokens), *level.blocks[0].input_resolution, tokens.shape[-1])
    for block in level.blocks:
        tokens = tokens + block._attn(block.norm1(tokens).view(grid)).view(tokens.shape)
        left = take(tokens, kept)
        tokens = put(left + block.mlp(block.norm2(left)), kept, tokens)
    return tokens


def run_linear(level: Any, tokens: Tensor, kept: Tensor, orders: list[Tensor], attend: Attend) -> Tensor:
    left, num_patches = take(tokens, kept), tokens.shape[1]
    for block, order in zip(level.blocks, orders, strict=True):
        slots = torch.argsort(order)[kept]
        left = left + block.attn.proj(attend(block, block.attn.qkv(block.norm1(left)), slots, num_patches))
        left = left + block.mlp(block.norm2(left))
    return put(left, kept, tokens)


def attend_whole(block: Any, qkv: Tensor, slots: Tensor, num_patches: int) -> Tensor:
    """Attention (B, K, C) of kept patches in windows of 49 slots."""
    batch, _, width = qkv.shape
    whole = put(qkv, slots, qkv.new_zeros(batch, num_patches, width))
    closed = qkv.new_full((batch, num_patches), -torch.inf).scatter(1, slots, 0.0)
    area = block.window_area
    windows = whole.view(-1, area, width)
    bias = block.attn._get_rel_pos_bias() + closed.view(-1, 1, 1, area)
    if block.attn_mask is not None:
        bias = bias + block.attn_mask.repeat(batch, 1, 1).unsqueeze(1)
    return take(attention(block, windows, bias).view(batch, num_patches, -1), slots)


def attend_padded(block: Any, qkv: Tensor, slots: Tensor, num_patches: int) -> Tensor:
    """The same in windows of as many slots as the fullest one needs."""
    batch, area = len(qkv), block.window_area
    is_kept = torch.zeros(batch, num_patches, dtype=torch.bool).scatter(1, slots, value=True).view(-1, area)
    depth = int(is_kept.sum(1).max())
    rank = is_kept.cumsum(1) - 1
    window = slots // area + torch.arange(batch).unsqueeze(1) * (num_patches // area)
    place = window * depth + rank.view(batch, -1).gather(1, slots)
    packed = qkv.new_zeros(len(is_kept) * depth, qkv.shape[-1]).index_copy(0, place.view(-1), qkv.flatten(0, 1))
    spots = torch.zeros(len(is_kept) * depth, dtype=torch.long)
    spots = spots.index_copy(0, place.view(-1), (slots % area).view(-1)).view(-1, depth)
    is_open = torch.arange(depth) < is_kept.sum(1, keepdim=True)
    pairs = spots.unsqueeze(2) * area + spots.unsqueeze(1)
    bias = block.attn._get_rel_pos_bias().flatten(2)[0].T[pairs].permute(0, 3, 1, 2)
    if block.attn_mask is not None:
        shift = block.attn_mask.repeat(batch, 1, 1).flatten(1).gather(1, pairs.flatten(1)).view(-1, 1, depth, depth)
        bias = bias + shift
    bias = bias.masked_fill(~is_open[:, None, None], -torch.inf)
    seen = attention(block, packed.view(len(is_kept), depth, -1), bias)
    return seen.flatten(0, 1)[place.view(-1)].view(batch, slots.shape[1], -1)


def attention(block: Any, windows: Tensor, bias: Tensor) -> Tensor:
    """Attention (windows, slots, C) from queries, keys and values (windows, slots, 3C)."""
    query, key, value = windows.view(*windows.shape[:2], 3, block.attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--keep", type=float, default=0.7)
    options.add_argument("--batch", type=int, default=8)
    given = options.parse_args()
    import timm  # only after spvit, which makes torchvision importable without its compiled operators
    from timm.layers import set_fused_attn

    torch.manual_seed(0)
    unfused = timm.create_model(NAME).eval()
    set_fused_attn(enable=True, experimental=True)
    backbone = timm.create_model(NAME).eval()
    models = {form: PrunedSwin(backbone, form, given.keep).eval() for form in FORMS}
    models["padded, object"] = PrunedSwin(backbone, "padded", given.keep, is_clustered=True).eval()
    models["timm's default"] = unfused
    images = torch.randn(given.batch, 3, 224, 224)
    with torch.inference_mode():
        timed = compare_models(
            {"dense": backbone} | models, images, num_rounds=6 if given.quick else 20, time_limit_s=300
        )
    rows = []
    for name, time in timed.items():
        low, high = 1 / time.ratio.high, 1 / time.ratio.low
        print(f"{name:14} {time.p50_ms:9.1f} ms  speed-up {time.speedup:.3f} ({low:.3f} to {high:.3f})")
        rows.append({"form": name, "keep_rate": given.keep, "ms": time.p50_ms, "speedup": time.speedup})
    sure = max(timed[form].speedup for form in ("mlp", "linear", "padded, object"))
    name = f"speed-up of swin_tiny at keep {given.keep:g}, wherever the kept patches lie"
    finish(rows, [Bar(name=name, value=sure, target=TARGET_SPEEDUP)], given.json)


if __name__ == "__main__":
    main()
