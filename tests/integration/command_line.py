"""The command line as a user calls it: a process of its own, with real Ray, Optuna storage and MLflow behind it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import numpy as np
from mlflow_database import give_mlflow_database

from search.cli import run
from search.records import StudyRecord
from search.study import read_study
from spvit.errors import SpvitError

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "experiments"
EXPERIMENT = f"""
[study]
name = "NAME"
seed = 1
directory = "RUNS"
[model]
name = "vit_tiny_patch16_224"
checkpoint = "{DEMO}/fashion_mnist/backbone.safetensors"
[model.args]
img_size = 28
patch_size = 4
in_chans = 1
embed_dim = 64
depth = 6
num_heads = 4
num_classes = 10
[data]
format = "npz"
path = "data"
augmentation = "light"
[pruning]
blocks = [1, 2, 4]
base_keep_rate = 0.7
[training]
epochs = 3
batch_size = 50
freeze_epochs = 0
lr = 5e-4
min_lr = 1e-6
backbone_lr_scale = 1.0
label_smoothing = 0.0
selector_warmup_steps = 5
num_threads = 1
[latency]
batch_size = 32
max_latency_share = 0.6
time_limit_s = 8
[search]
mode = "schedule"
num_trials = 8
num_concurrent = 2
sampler = "tpe"
warm_starts = false
num_startup_trials = 4
grace_epochs = 1
latency_tolerance = 1.0
[search.space]
stage_keep_rates = {{ low = 0.15, high = 0.9 }}
[search.space.losses]
ratio = {{ low = 0.1, high = 4.0, log = true }}
[search.space.training]
lr = {{ choices = [5e-4, 100.0] }}
"""
"""Half of the learning rates ruin a model, so that there is something to prune; a sampler that does not know latency
proposes what is too slow, so that there is something to reject."""


def write_experiment(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """An experiment file on a few images of the demo's data; its study is kept in `folder/runs`."""
    data = folder / "data"
    if not data.exists():
        data.mkdir(parents=True)
        for split, count in (("train", 200), ("val", 100), ("test", 50)):
            with np.load(DEMO / "fashion_mnist" / f"{split}.npz") as arrays:
                np.savez(data / split, images=arrays["images"][:count], labels=arrays["labels"][:count])
    text = EXPERIMENT.replace("NAME", name).replace("RUNS", str(folder / "runs"))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    give_mlflow_database(folder / "runs")
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Begins a command; its output is collected."""
    command = [sys.executable, "-m", "search.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def call(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """Runs a command to its end; what it wrote to stdout and stderr."""
    process = start(*arguments)
    out, err = process.communicate(timeout=480)
    assert process.returncode == code, f"{arguments}: {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in out + err
    return out, err


def call_json(*arguments: str | Path) -> Any:
    """Runs a command with --json; the document that it printed, of one that searches the last of its lines.

    Nothing else may be on stdout.
    """
    out, _ = call(*arguments, "--json")
    if out.startswith('{"event"'):
        return [json.loads(line) for line in out.splitlines()][-1]
    return json.loads(out)


def call_here(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """As `call`, in this process: seconds of imports less, for commands that start no Ray."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        returned = run([str(argument) for argument in arguments])
    assert returned == code, f"{arguments}: {returned}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue(), err.getvalue()


def wait_for(study_directory: Path, condition: Any, *, seconds: float = 240) -> StudyRecord:
    """The study as soon as it fulfils a condition."""
    for _ in range(int(seconds / 0.05)):
        time.sleep(0.05)
        try:
            study = read_study(study_directory)
        except (SpvitError, KeyError):
            continue
        if condition(study):
            return study
    raise AssertionError(f"{study_directory}: not so after {seconds:g} s")
