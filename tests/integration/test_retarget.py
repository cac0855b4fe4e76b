"""A study taken to another device by the real command, and a further trial trained from what it wrote."""

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import call, call_here, call_json

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import finished_study

pytestmark = [pytest.mark.large, pytest.mark.integration]


def _data(folder):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        images = rng.integers(0, 256, (12, 16, 16), np.uint8)
        np.savez(folder / split, images=images, labels=np.arange(12) % 4)
    return folder


def test_a_further_trial_can_be_trained_as_the_command_says(tmp_path):
    runs, path = tmp_path / "runs", tmp_path / "slow.json"
    data = {"format": "npz", "path": str(_data(tmp_path / "data")), "augmentation": "none"}
    training = {"epochs": 1, "freeze_epochs": 0, "batch_size": 6, "selector_warmup_steps": 1, "num_threads": 1}
    config = finished_study.experiment(runs, data=data, training=training)
    finished_study.make_study(config, finished_study.table(), num_trials=6)
    finished_study.scaled(finished_study.table(), 3.0).save(path)
    found = call_json(
        "retarget", "small", "--runs-dir", runs, "--table", path, "--suggest", "1", "--output", tmp_path / "there"
    )
    (device,) = found["devices"]
    assert device["recommended"] in device["front"]
    (command,) = found["commands"]
    program, *arguments = command.split()
    assert program == "spvit-search"
    _, progress = call_here(*arguments)
    assert "epoch 1/1: top-1" in progress
    text, _ = call("retarget", "small", "--runs-dir", runs, "--table", path, "--suggest", "0")
    assert f"recommended  trial {device['recommended']}:" in text
