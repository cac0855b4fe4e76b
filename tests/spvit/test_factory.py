import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spvit.errors import CheckpointError, ConfigError, UnsupportedModelError
from spvit.factory import create_backbone, geometry_of
from spvit.schedule import TokenGeometry

NAME = "deit_tiny_patch16_224"
SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
Make = Callable[..., Any]


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    weights = create_backbone(NAME, args=SMALL | {"num_classes": 5}).state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors", weights


@pytest.mark.parametrize(
    ("name", "args", "prefix"),
    [
        (NAME, {}, 1),
        ("deit_tiny_distilled_patch16_224", {}, 2),
        ("vit_tiny_patch16_224", {"reg_tokens": 4}, 5),
        ("deit3_small_patch16_224", {}, 1),
    ],
)
def test_geometry(make_backbone: Make, name: str, args: dict[str, Any], prefix: int) -> None:
    geometry = geometry_of(make_backbone(name, **args))
    assert geometry == TokenGeometry(depth=6, num_patches=64, num_prefix_tokens=prefix)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'deit_smal_patch16_224' came\. Did you mean deit_small_patch16_224"):
        create_backbone("deit_smal_patch16_224")


def test_an_unknown_tag_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Invalid pretrained tag \(nonsense\)"):
        create_backbone(f"{NAME}.nonsense", args=SMALL)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"foo": 1}, "foo"),
        ({"embed_dim": 50}, "divisible"),
        ({"pretrained": True}, "use model.pretrained"),
        ({"checkpoint_path": "x"}, "use model.checkpoint"),
    ],
)
def test_bad_args_are_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_backbone(NAME, args=SMALL | args)


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("resnet18", {}, "is a ResNet"),
        ("vit_base_patch16_gap_224", SMALL, "global_pool='avg'"),
        ("eva02_tiny_patch14_224", {"depth": 1}, "is a Eva"),
        ("vit_small_patch16_18x2_224", SMALL, "ParallelThingsBlock"),
        (NAME, SMALL | {"dynamic_img_size": True}, "images of any size"),
    ],
)
def test_models_that_cannot_be_pruned_are_refused(name: str, args: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        create_backbone(name, args=args)


def test_patch_dropout_is_taken_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        backbone = create_backbone(NAME, args=SMALL | {"patch_drop_rate": 0.5})
    assert isinstance(backbone.patch_drop, nn.Identity)
    assert "patch_drop_rate is set to 0" in caplog.text


def test_pretrained_without_a_network_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = "model.safetensors from https://huggingface.co/timm/deit_tiny_patch16_224.fb_in1k"
    with pytest.raises(CheckpointError, match=source):
        create_backbone(NAME, pretrained=True)


def test_two_sources_of_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not both"):
        create_backbone(NAME, checkpoint=tmp_path / "w", pretrained=True)


def test_weights_are_loaded_exactly(stored: tuple[Path, dict[str, Tensor]]) -> None:
    path, weights = stored
    loaded = create_backbone(NAME, args=SMALL | {"num_classes": 5}, checkpoint=path).state_dict()
    torch.testing.assert_close(loaded, weights, rtol=0, atol=0)


def test_selectors_in_the_file_are_left_out(stored: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    weights = stored[1] | {"score_predictor.0.in_conv.0.weight": torch.ones(48)}
    torch.save({"model": weights}, tmp_path / "w.pth")
    loaded = create_backbone(NAME, args=SMALL | {"num_classes": 5}, checkpoint=tmp_path / "w.pth")
    torch.testing.assert_close(loaded.state_dict(), stored[1])


def test_position_embeddings_are_resampled_as_timm_does(stored: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    larger = SMALL | {"num_classes": 5, "img_size": 48}
    ours = create_backbone(NAME, args=larger, checkpoint=stored[0])
    theirs = timm.create_model(NAME, **larger)
    resampled = timm.models.vision_transformer.checkpoint_filter_fn(dict(stored[1]), theirs)
    assert ours.pos_embed.shape == (1, 145, 48)
    torch.testing.assert_close(ours.pos_embed.detach(), resampled["pos_embed"])


def test_deit3_names_are_translated(tmp_path: Path) -> None:
    backbone = create_backbone("deit3_small_patch16_224", args=SMALL | {"num_classes": 5})
    published = {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value + 0.25
                 for name, value in backbone.state_dict().items()}  # fmt: skip
    torch.save({"model": published}, tmp_path / "w.pth")
    args = SMALL | {"num_classes": 5}
    loaded = create_backbone("deit3_small_patch16_224", args=args, checkpoint=tmp_path / "w.pth")
    assert torch.equal(loaded.blocks[0].ls1.gamma, published["blocks.0.gamma_1"])


def test_another_number_of_classes_starts_with_a_fresh_head(
    stored: tuple[Path, dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = create_backbone(NAME, args=SMALL | {"num_classes": 9}, checkpoint=stored[0])
    assert "for 5 classes, not 9" in caplog.text
    assert loaded.head.weight.shape == (9, 48)
    torch.testing.assert_close(loaded.norm.state_dict(), {k: stored[1][f"norm.{k}"] for k in ("weight", "bias")})
    assert torch.equal(loaded.cls_token, stored[1]["cls_token"])


def test_another_number_of_classes_must_be_asked_for(stored: tuple[Path, dict[str, Tensor]]) -> None:
    with pytest.raises(CheckpointError, match=r"1000 classes, but holds one for 5. Set model.args.num_classes"):
        create_backbone(NAME, args=SMALL, checkpoint=stored[0])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"depth": 3}, r"lacks blocks\.2\.attn\.proj\.bias, .* and 9 more and holds nothing"),
        ({"depth": 1}, r"lacks nothing and holds blocks\.1\."),
        ({"embed_dim": 96}, "w.safetensors does not belong to this model"),
    ],
)
def test_weights_of_another_model_are_refused(
    stored: tuple[Path, dict[str, Tensor]], args: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        create_backbone(NAME, args=SMALL | {"num_classes": 5} | args, checkpoint=stored[0])


def test_foreign_tensors_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.ones(3), "head.weight": torch.ones(5, 48)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="does not belong to this model"):
        create_backbone(NAME, args=SMALL | {"num_classes": 5}, checkpoint=tmp_path / "w.safetensors")
