"""Checkpoints of SPViT and DynamicViT give their selectors to a pruned model, or say why they do not."""

import argparse
import copy

import pytest
import torch
from safetensors.torch import save_file

from spvit.errors import CheckpointError
from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import HeadWeighting, SelectorKind
from spvit.pruned_weights import load_selectors, stored_selectors
from spvit.schedule import PruningSchedule
from trainers.build import build_model
from trainers.config import DataConfig, ModelConfig, PruningConfig, TrainingConfig, TrialConfig
from trainers.selector_start import start_selectors
from trainers.workers import WorkerGroup

NAME = "deit_tiny_patch16_224"
SMALL = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 5}
SCHEDULE = PruningSchedule.from_keep_rates([0.7, 0.5, 0.3], [1, 2, 3])
THEIRS = {
    "norm": "in_conv.{}0",
    "project": "in_conv.{}1",
    "hidden": "out_conv.{}0",
    "narrow": "out_conv.{}2",
    "out": "out_conv.{}4",
}
KINDS = [
    (SelectorKind.MULTI_HEAD, HeadWeighting.SENET),
    (SelectorKind.MULTI_HEAD, HeadWeighting.MEAN),
    (SelectorKind.SINGLE_HEAD, HeadWeighting.SENET),
]


def random_model(kind=SelectorKind.MULTI_HEAD, weighting=HeadWeighting.SENET, schedule=SCHEDULE):
    backbone = create_backbone(NAME, args=SMALL)
    model = PrunedViT(backbone, schedule, selector=kind, head_weighting=weighting)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def published(model):
    """The model's weights under the names of SPViT (one copy of the MLP per head) or, with one head, of DynamicViT."""
    names = dict(model.backbone.state_dict())
    for stage, selector in enumerate(model.selectors.values()):
        copies = [f"{head}." for head in range(selector.num_heads)] if selector.num_heads > 1 else [""]
        for name, value in selector.state_dict().items():
            part, _, rest = name.partition(".")
            theirs = ["senet"] if part == "weigh" else [THEIRS[part].format(head) for head in copies]
            names |= {f"score_predictor.{stage}.{each}.{rest}": value.clone() for each in theirs}
    return names


def write(folder, model, container="spvit"):
    weights = published(model)
    if container == "safetensors":
        save_file(weights, folder / "w.safetensors")
        return folder / "w.safetensors"
    contents = {
        "spvit": {"model": weights, "optimizer": {}, "epoch": 29, "model_ema": copy.copy(weights), "scaler": {},
                  "args": argparse.Namespace(lr=5e-4, base_rate=0.7)},
        "dynamicvit": {"model": weights},
        "parallel": {"state_dict": {f"module.{name}": value for name, value in weights.items()}},
    }  # fmt: skip
    torch.save(contents[container], folder / "w.pth")
    return folder / "w.pth"


def trial(checkpoint, kind=SelectorKind.MULTI_HEAD, weighting=HeadWeighting.SENET, schedule=SCHEDULE):
    return TrialConfig(
        model=ModelConfig(name=NAME, args=SMALL, checkpoint=checkpoint),
        data=DataConfig(path=checkpoint.parent),
        pruning=PruningConfig(schedule=schedule, selector=kind, head_weighting=weighting),
        training=TrainingConfig(selector_warmup_steps=3),
    )


@pytest.mark.parametrize("container", ["spvit", "dynamicvit", "parallel", "safetensors"])
@pytest.mark.parametrize(("kind", "weighting"), KINDS)
def test_a_published_checkpoint_gives_its_own_logits(tmp_path, images, kind, weighting, container):
    source = random_model(kind, weighting)
    path = write(tmp_path, source, container)
    model = build_model(trial(path, kind, weighting)).eval()
    torch.testing.assert_close(model.state_dict(), source.state_dict(), rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(model(images), source(images), rtol=0, atol=1e-6)


def test_loaded_selectors_are_neither_warmed_up_nor_shifted(tmp_path):
    config = trial(write(tmp_path, random_model()))
    model = build_model(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_selectors(model, None, config, cache=None, workers=WorkerGroup.single())  # would ask for images
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_a_plain_checkpoint_has_nothing_to_load(tmp_path):
    backbone = create_backbone(NAME, args=SMALL)
    save_file(backbone.state_dict(), tmp_path / "w.safetensors")
    model = random_model()
    assert stored_selectors(tmp_path / "w.safetensors") == stored_selectors(None) == ()
    assert not load_selectors(model, tmp_path / "w.safetensors")


@pytest.mark.parametrize("options", [{"schedule": PruningSchedule()}, {"kind": SelectorKind.CLASS_ATTENTION}])
def test_models_without_learned_selectors_take_the_backbone_alone(tmp_path, options):
    source = random_model()
    model = build_model(trial(write(tmp_path, source), **options))
    torch.testing.assert_close(model.backbone.state_dict(), source.backbone.state_dict(), rtol=0, atol=0)


def test_a_stage_that_drops_nothing_leaves_its_selector_unused(tmp_path):
    source = random_model()
    schedule = PruningSchedule.from_keep_rates([1.0, 0.5, 0.3], [1, 2, 3])
    model = build_model(trial(write(tmp_path, source), schedule=schedule))
    for block in ("2", "3"):
        assert torch.equal(model.selectors[block].project.weight, source.selectors[block].project.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": PruningSchedule.from_keep_rates([0.5], [2])}, r"3 selectors, but .* before blocks \(2,\)"),
        ({"kind": SelectorKind.SINGLE_HEAD}, "has 1 heads, but the file's 3"),
        ({"kind": SelectorKind.LIGHT}, "multi_head or single_head, but the model's are LightSelectors"),
        ({"weighting": HeadWeighting.MEAN}, 'weighted by pruning.head_weighting = "senet"'),
    ],
)
def test_selectors_of_another_kind_or_number_are_refused(tmp_path, options, message):
    with pytest.raises(CheckpointError, match=f"{message}.*without its score_predictor"):
        build_model(trial(write(tmp_path, random_model()), **options))


def test_selectors_of_another_width_are_refused(tmp_path):
    weights = published(random_model(SelectorKind.SINGLE_HEAD))
    name = "score_predictor.1.out_conv.4.weight"
    save_file(weights | {name: torch.zeros(2, 5)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"size mismatch for out\.weight"):
        build_model(trial(tmp_path / "w.safetensors", SelectorKind.SINGLE_HEAD))


def test_heads_that_differ_are_refused(tmp_path):
    weights = published(random_model())
    weights["score_predictor.2.in_conv.1.1.weight"] += 1
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"heads of selector 2 .* share one MLP"):
        build_model(trial(tmp_path / "w.safetensors"))
