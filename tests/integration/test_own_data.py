"""Somebody else's pictures and model: only the experiment file is another one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call, call_here
from PIL import Image, ImageDraw

import spvit
from search.records import TrialState
from search.study import read_study

pytestmark = [pytest.mark.large, pytest.mark.integration]
EXPERIMENT = """
[study]
name = "shapes"
directory = "RUNS"
[model]
name = "vit_tiny_patch16_224"
[model.args]
img_size = 32
patch_size = 8
depth = 4
num_classes = 3
[data]
path = "shapes"
[pruning]
blocks = [1, 2]
[training]
epochs = 2
batch_size = 12
freeze_epochs = 0
selector_warmup_steps = 3
num_threads = 1
mixup = 0.8
[latency]
batch_size = 4
time_limit_s = 8
max_latency_ms = 1000.0             # a model this small is not faster for being pruned
[search]
mode = "schedule"
num_trials = 2
[search.space]
stage_keep_rates = { low = 0.1, high = 0.6 }
"""
SHAPES = ("circle", "square", "triangle")


def _picture(shape, rng):
    """A coloured shape on a noisy ground, 48 to 64 pixels wide and high."""
    width, height = (int(n) for n in rng.integers(48, 65, 2))
    image = Image.fromarray(rng.integers(0, 80, (height, width, 3), np.uint8))
    left, top = (int(n) for n in rng.integers(4, 12, 2))
    box = (left, top, left + 32, top + 32)
    colour = tuple(int(n) for n in rng.integers(150, 256, 3))
    draw = ImageDraw.Draw(image)
    match shape:
        case "circle":
            draw.ellipse(box, fill=colour)
        case "square":
            draw.rectangle(box, fill=colour)
        case "triangle":
            draw.polygon([(left, top + 32), (left + 32, top + 32), (left + 16, top)], fill=colour)
    return image


def _write_pictures(folder):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 5)):
        for shape in SHAPES:
            (folder / split / shape).mkdir(parents=True)
            for number in range(count):
                _picture(shape, rng).save(folder / split / shape / f"{number:03d}.JPEG")
    _picture("circle", rng).convert("L").save(folder / "train" / "circle" / "grey.JPEG")
    whole = (folder / "train" / "square" / "000.JPEG").read_bytes()
    (folder / "train" / "square" / "torn.JPEG").write_bytes(whole[: len(whole) // 2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    _write_pictures(folder / "shapes")
    (folder / "shapes.toml").write_text(EXPERIMENT.replace("RUNS", str(folder / "runs")))
    return folder


@pytest.fixture(scope="module")
def launched(folder):
    """What `launch` wrote to stderr, after `profile`."""
    call_here("profile", folder / "shapes.toml")
    return call("launch", folder / "shapes.toml")[1]


def test_a_folder_of_jpegs_and_another_model_go_the_same_way(folder, launched):
    study = read_study(folder / "runs" / "shapes")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert [trial.num_epochs for trial in study.trials] == [2, 2]
    out, _ = call_here("export", "shapes", "--runs-dir", folder / "runs", "--format", "onnx", "--json")
    exported = json.loads(out)
    model = spvit.load_exported(exported["directory"])
    assert len(model.backbone.blocks) == 4
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    description = json.loads((Path(exported["directory"]) / "config.json").read_text())
    assert tuple(description["class_names"]) == SHAPES


def test_a_damaged_picture_is_left_out_by_name_and_a_grey_one_is_not(launched):
    assert launched.count("Damaged image left out") == 1
    assert "square/torn.JPEG" in launched
    assert "grey.JPEG" not in launched


def test_where_to_browse_is_said_at_the_start_and_at_the_end(launched):
    assert launched.count("browse the study with `spvit-search dashboard shapes") == 2
