import json

import pytest
import torch

from spvit.errors import CheckpointError
from spvit.exported import load_exported, save_exported
from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import PackageMode, PruningSchedule

ARGS = {"img_size": 16, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 4}


def write(directory, *, package=PackageMode.PER_SELECTOR, weighting=HeadWeighting.SENET):
    backbone = create_backbone("vit_tiny_patch16_224", args=ARGS)
    schedule = PruningSchedule.from_keep_rates([0.7, 0.4], [1, 2])
    model = PrunedViT(backbone, schedule, head_weighting=weighting, package=package)
    save_exported(
        directory,
        model,
        name="vit_tiny_patch16_224",
        args=ARGS,
        selector=SelectorKind.MULTI_HEAD,
        head_weighting=weighting,
        package=package,
        extra={"class_names": ["a"]},
    )
    return model.eval()


@pytest.mark.parametrize("package", PackageMode)
@pytest.mark.parametrize("weighting", HeadWeighting)
def test_a_model_comes_back_as_it_was(tmp_path, package, weighting):
    model, images = write(tmp_path, package=package, weighting=weighting), torch.randn(2, 1, 16, 16)
    loaded = load_exported(tmp_path)
    assert not loaded.training
    assert loaded.plan == model.plan
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=1e-6)


def flip_a_bit(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_model(folder, **values):
    built_from = json.loads((folder / "config.json").read_text())["model_args"]
    change(folder, model_args=built_from | values)


DAMAGES = {
    "no description": (lambda f: (f / "config.json").unlink(), "config.json is missing or damaged"),
    "torn description": (lambda f: (f / "config.json").write_text('{"format": 1'), "missing or damaged"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "missing or damaged"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "weights are missing"),
    "changed weights": (flip_a_bit, "damaged or changed"),
    "newer format": (lambda f: change(f, format=3), "format 2 was required, but got 3"),
    "other schedule": (lambda f: change_model(f, stages=[]), "do not belong together"),
    "rising rates": (lambda f: change_model(f, stages=[{"block": 1, "keep_rate": 7}]), "do not belong together"),
    "other model": (lambda f: change_model(f, backbone="resnet18", backbone_args={}), "do not belong together"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_is_refused(tmp_path, damage):
    write(tmp_path)
    harm, message = DAMAGES[damage]
    harm(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_exported(tmp_path)
