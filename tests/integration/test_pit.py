"""A backbone whose blocks are of several widths: profiled, searched and exported by the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call, call_here, give_mlflow_database

import spvit
from latency_tables.table import LatencyTable
from search.experiment import load_experiment
from search.progressive_target import make_target
from search.records import TrialState
from search.study import read_study
from spvit.errors import UnsupportedModelError

pytestmark = [pytest.mark.large, pytest.mark.integration]
EXPERIMENT = """
[study]
name = "pit"
directory = "RUNS"
[model]
name = "pit_ti_224"
[model.args]
img_size = 48
in_chans = 1
num_classes = 4
[data]
format = "npz"
path = "data"
augmentation = "light"
[pruning]
blocks = [1, 3, 9]
stage_keep_rates = [0.7, 0.6, 0.5]
[training]
epochs = 1
batch_size = 16
freeze_epochs = 0
selector_warmup_steps = 2
num_threads = 1
[latency]
batch_size = 16
max_latency_ms = 1000
time_limit_s = 8
[search]
mode = "schedule"
num_trials = 2
grace_epochs = 2
[search.space]
stage_keep_rates = { low = 0.1, high = 0.8 }
"""
LEVELS = (25, 9, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pit"), np.random.default_rng(0)
    (folder / "data").mkdir()
    for split, count in (("train", 32), ("val", 16)):
        images = rng.integers(0, 256, (count, 48, 48), np.uint8)
        np.savez(folder / "data" / split, images=images, labels=np.arange(count) % 4)
    give_mlflow_database(folder / "runs")
    (folder / "pit.toml").write_text(EXPERIMENT.replace("RUNS", str(folder / "runs")))
    return folder


@pytest.fixture(scope="module")
def profiled(folder):
    return json.loads(call_here("profile", folder / "pit.toml", "--json")[0])


@pytest.fixture(scope="module")
def searched(folder, profiled):
    del profiled
    call("launch", folder / "pit.toml", "--no-profile")
    return read_study(folder / "runs" / "pit")


def test_the_profile_tells_every_levels_blocks(profiled):
    table = LatencyTable.load(Path(profiled["table"]))
    assert [max(level.blocks) for level in table.levels] == [1 + num for num in LEVELS]
    assert table.pooling is not None
    assert [max(map(int, level["block_ms"])) for level in profiled["deeper_levels"]] == [10, 5]


def test_trials_drop_tokens_in_every_level(searched):
    assert [trial.state for trial in searched.trials] == [TrialState.COMPLETE] * 3  # the fixed schedule and 2 others
    assert all(trial.latency.high_ms <= searched.max_latency_ms for trial in searched.trials[1:])


def test_a_trial_is_exported_as_a_model_that_loads(folder, searched):
    arguments = ("export", searched.name, "--runs-dir", folder / "runs", "--format", "torch_export", "--json")
    exported = json.loads(call_here(*arguments)[0])
    model = spvit.load_exported(exported["directory"])
    assert tuple(level.num_patches for level in model.geometry.levels) == LEVELS
    assert model(torch.zeros(2, 1, 48, 48)).shape == (2, 4)


def test_what_does_not_work_with_levels_is_said_before_it_begins(folder, profiled):
    assert profiled["table"]
    table = ("--set", f"latency.table={profiled['table']}", "--set", "study.name=other")
    _, told = call_here("run", folder / "pit.toml", *table, "--set", "losses.latency=0.5", code=3)
    assert "losses.latency must be 0 for a model that pools its patches, but pit_ti_224 has 3 levels" in told


def test_progressive_insertion_says_that_it_needs_a_single_level(folder, profiled):
    experiment = load_experiment(folder / "pit.toml")
    with pytest.raises(UnsupportedModelError, match=r"pit_ti_224 pools its patches between 3 levels.*spvit-search run"):
        make_target(experiment, LatencyTable.load(Path(profiled["table"])))
