"""LV-ViT, which timm does not have, of timm's parts. Importing this module makes timm know lvvit_t, lvvit_s, lvvit_m.

It differs from DeiT by a convolutional stem, residuals divided by a constant, and a head that also looks at patches.
Jiang et al., All Tokens Matter: Token Labeling for Training Better Vision Transformers, 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn import functional

from spvit.maximum import maximum_of_kept

__all__ = ["ConvStem", "LVViT", "lvvit_m", "lvvit_s", "lvvit_t"]

STEM_WIDTH = 64
AUX_WEIGHT = 0.5
"""Weight of the strongest patch's logits beside the class token's."""


class ConvStem(nn.Module):
    """Images (B, 3, H, W) to patches (B, N, C): three convolutions at half the resolution before the patches are cut.

    Names are those of the published weights.
    """

    def __init__(
        self, img_size: int | tuple[int, int], patch_size: int, in_chans: int, embed_dim: int, **_: object
    ) -> None:
        super().__init__()
        if patch_size % 2:
            raise ValueError(f"LV-ViT's stem halves the image, so patch_size must be even, but is {patch_size}.")
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else (int(img_size[0]), int(img_size[1]))
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (self.img_size[0] // patch_size, self.img_size[1] // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.conv1 = nn.Conv2d(in_chans, STEM_WIDTH, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_WIDTH)
        self.conv2 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_WIDTH)
        self.conv3 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(STEM_WIDTH)
        self.proj = nn.Conv2d(STEM_WIDTH, embed_dim, patch_size // 2, stride=patch_size // 2)

    def forward(self, images: Tensor) -> Tensor:
        """Cut images into patches."""
        x = functional.relu(self.bn1(self.conv1(images)))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = functional.relu(self.bn3(self.conv3(x)))
        patches: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return patches


class LVViT(VisionTransformer):  # type: ignore[misc]  # timm is not typed
    """LV-ViT as one of timm's vision transformers, with timm's own blocks.

    Its residuals are f(x) / skip_lam. Here the division is part of each branch's last layer (`attn.proj` and
    `mlp.fc2`), which gives the same numbers without an operation of its own. The buffer `skip_lam` marks weights that
    have been divided already; published ones are divided when they are loaded (see `in_own_names`).

    Args:
        skip_lam: what residuals are divided by.
        arguments: of timm's VisionTransformer.
    """

    def __init__(self, *, skip_lam: float = 2.0, **arguments: Any) -> None:
        super().__init__(**arguments, embed_layer=ConvStem, qkv_bias=False, norm_layer=partial(nn.LayerNorm, eps=1e-5))
        self.aux_head = _classifier(self.embed_dim, self.num_classes)
        self.register_buffer("skip_lam", torch.tensor(float(skip_lam)))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if _ends_branch(name):
                    parameter.div_(skip_lam)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Fresh heads for so many classes."""
        super().reset_classifier(num_classes, global_pool)
        self.aux_head = _classifier(self.embed_dim, num_classes).to(self.cls_token)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, classes) of normed tokens (B, 1 + N, C), all of them patches but the first."""
        return x[:, 0] if pre_logits else self.logits(x)

    def logits(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """The class token's logits and half of the strongest among patches: (B, classes).

        Args:
            x: (B, 1 + N, C), normed; no package tokens.
            keep: (B, N), 1 for patches that are still there; all where it is None. Others cannot be the strongest;
                where none is left, patches add nothing.
        """
        patches = self.aux_head(self.head_drop(x[:, 1:]))
        best = patches.amax(1) if keep is None else maximum_of_kept(patches, keep)
        logits: Tensor = self.head(self.head_drop(x[:, 0])) + AUX_WEIGHT * best
        return logits


def in_own_names(weights: Mapping[str, Tensor], model: LVViT) -> dict[str, Tensor]:
    """A checkpoint for `LVViT`: published weights are divided by `skip_lam`, positions resampled by timm."""
    own = dict(checkpoint_filter_fn(dict(weights), model))
    if "skip_lam" in own:
        return own
    divisor = float(model.skip_lam)
    own = {name: value / divisor if _ends_branch(name) else value for name, value in own.items()}
    return own | {"skip_lam": model.skip_lam.detach().clone()}


def _ends_branch(name: str) -> bool:
    return name.startswith("blocks.") and (".attn.proj." in name or ".mlp.fc2." in name)


def _classifier(dim: int, num_classes: int) -> nn.Module:
    if num_classes < 1:
        return nn.Identity()
    head = nn.Linear(dim, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def _cfg(crop_pct: float) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": None,
        "crop_pct": crop_pct,
        "interpolation": "bicubic",
        "fixed_input_size": True,
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.conv1",
        "classifier": ("head", "aux_head"),
        "license": "apache-2.0",
    }


default_cfgs = generate_default_cfgs(
    {"lvvit_t.untrained": _cfg(0.9), "lvvit_s.untrained": _cfg(0.9), "lvvit_m.untrained": _cfg(1.0)}
)


def _create(name: str, pretrained: bool, sizes: dict[str, Any], changes: dict[str, Any]) -> LVViT:
    arguments = {"patch_size": 16, "mlp_ratio": 3.0} | sizes | changes
    model: LVViT = build_model_with_cfg(
        LVViT, name, pretrained, pretrained_filter_fn=in_own_names, feature_cfg={"out_indices": 3}, **arguments
    )
    return model


@register_model  # type: ignore[untyped-decorator]
def lvvit_t(pretrained: bool = False, **changes: Any) -> LVViT:
    """LV-ViT-T, 12 blocks of width 240."""
    return _create("lvvit_t", pretrained, {"embed_dim": 240, "depth": 12, "num_heads": 4, "skip_lam": 1.0}, changes)


@register_model  # type: ignore[untyped-decorator]
def lvvit_s(pretrained: bool = False, **changes: Any) -> LVViT:
    """LV-ViT-S, 16 blocks of width 384."""
    return _create("lvvit_s", pretrained, {"embed_dim": 384, "depth": 16, "num_heads": 6}, changes)


@register_model  # type: ignore[untyped-decorator]
def lvvit_m(pretrained: bool = False, **changes: Any) -> LVViT:
    """LV-ViT-M, 20 blocks of width 512."""
    return _create("lvvit_m", pretrained, {"embed_dim": 512, "depth": 20, "num_heads": 8}, changes)
