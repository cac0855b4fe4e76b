import argparse
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
        ("eva02_tiny_patch14_224", {"depth": 1}, "RoPE"),
        ("vit_small_patch16_18x2_224", SMALL, "parallel blocks"),
        (NAME, SMALL | {"dynamic_img_size": True}, r"images of any size.*model\.args\.dynamic_img_size = false"),
        (NAME, SMALL | {"global_pool": "prr"}, r"global_pool='prr' \(known are avg, avgmax, map, max, token\)"),
        (NAME, SMALL | {"num_classes": 0}, r"without a classifier \(set model\.args\.num_classes"),
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


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A server that does not answer, and an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("no_network")
def test_pretrained_without_a_network_names_the_file() -> None:
    source = "Download model.safetensors from .*/timm/deit_tiny_patch16_224.fb_in1k .* as model.checkpoint"
    with pytest.raises(CheckpointError, match=rf"does not answer, and they are not in .*{source}"):
        create_backbone(NAME, pretrained=True)


def test_pretrained_in_offline_mode_names_the_file(monkeypatch: pytest.MonkeyPatch, no_network: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=f"not in {no_network}"):
        create_backbone(NAME, pretrained=True)


def test_weights_in_the_cache_need_no_network(no_network: Path) -> None:
    wanted = create_backbone("test_vit", args={"dynamic_img_size": False}).state_dict()
    folder = no_network / "models--timm--test_vit.r160_in1k"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file(wanted, folder / "snapshots" / "abc" / "model.safetensors")
    cached = create_backbone("test_vit", args={"dynamic_img_size": False}, pretrained=True)
    torch.testing.assert_close(cached.state_dict(), wanted, rtol=0, atol=0)


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


Published = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def _in_deit3s_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for n, v in weights.items()}


Format = tuple[str, str, Published, int]
FORMATS: list[Format] = [
    ("deit_tiny_patch16_224", "deit.pth", dict, 65),
    ("deit_tiny_distilled_patch16_224", "distilled.pth", dict, 66),
    ("deit3_small_patch16_224", "deit3.pth", _in_deit3s_names, 64),
    ("vit_tiny_patch16_224", "augreg.safetensors", dict, 65),
    ("vit_base_patch16_reg4_gap_256", "registers.safetensors", dict, 64),
    ("vit_base_patch16_siglip_224", "siglip.safetensors", dict, 64),
]


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind[1])
def test_published_formats_give_their_own_logits(tmp_path: Path, images: Tensor, kind: Format) -> None:
    name, file, published, num_positions = kind
    args = SMALL | {"num_classes": 5}
    source = timm.create_model(name, **args)
    for parameter in source.parameters():
        nn.init.normal_(parameter, std=0.2)
    weights = published(source.state_dict())
    assert weights["pos_embed"].shape[1] == num_positions
    if file.endswith(".pth"):
        torch.save({"model": weights, "args": argparse.Namespace(lr=0.1)}, tmp_path / file)
    else:
        save_file(weights, tmp_path / file)
    loaded = create_backbone(name, args=args, checkpoint=tmp_path / file).eval()
    with torch.no_grad():
        assert torch.equal(loaded(images), source.eval()(images))


@pytest.mark.parametrize(
    ("name", "num_prefix"),
    [("deit_tiny_patch16_224", 1), ("deit_tiny_distilled_patch16_224", 2), ("deit3_small_patch16_224", 0)],
)
def test_prefix_tokens_keep_their_positions_at_another_image_size(tmp_path: Path, name: str, num_prefix: int) -> None:
    weights = timm.create_model(name, **SMALL, num_classes=5).state_dict()
    torch.save({"model": weights}, tmp_path / "w.pth")
    larger = create_backbone(name, args=SMALL | {"num_classes": 5, "img_size": 48}, checkpoint=tmp_path / "w.pth")
    assert larger.pos_embed.shape[1] == num_prefix + 144
    assert torch.equal(larger.pos_embed[:, :num_prefix], weights["pos_embed"][:, :num_prefix])


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
