"""What a certificate and an evaluation ask of the runtime, and when."""

import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from latency_tables.key import Runtime
from search import certificate
from search.certificate import certify, check_runtime, time_side_by_side
from search.evaluation import evaluate_experiment, evaluate_export
from search.experiment import validate
from search.form_request import FormRequest
from search.latency_config import LatencyConfig
from search.model_facts import trial_of
from search.study_report import experiment_toml
from spvit.errors import ConfigError
from spvit.exported import save_exported
from spvit.factory import create_backbone
from spvit.options import TokenForm
from trainers.build import build_model
from trainers.config import DataConfig
from trainers.preprocessing import preprocessing_of

ARGS = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 3}
ADAPTIVE = FormRequest(form=TokenForm.ADAPTIVE, num_calibration_images=3)
NUM_THREADS = 3


class Watching(nn.Module):
    """Keeps the number of threads of every call."""

    seen: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        self.seen.append(torch.get_num_threads())
        return images * self.scale


@pytest.fixture
def preprocessing():
    return preprocessing_of(create_backbone("vit_tiny_patch16_224", args=ARGS))


def test_models_are_made_ready_with_the_threads_that_they_are_timed_with(preprocessing):
    """What is compiled for other threads is compiled again within the time limit; exporting shows it in less time."""
    latency, before = LatencyConfig(runtime=Runtime.ONNXRUNTIME, num_threads=NUM_THREADS), torch.get_num_threads()
    try:
        check_runtime(latency)
    except ConfigError as error:
        pytest.skip(str(error))
    Watching.seen.clear()
    time_side_by_side({"dense": Watching()}, preprocessing, latency, time_limit_s=0.01)
    assert set(Watching.seen) == {NUM_THREADS} != {before}
    assert torch.get_num_threads() == before


@pytest.fixture
def progress():
    """Keeps what was begun."""
    texts = []

    def told(_share, text):
        texts.append(text)

    told.texts = texts
    return told


@pytest.fixture
def experiment(tmp_path):
    for split in ("train", "val"):
        np.savez(tmp_path / f"{split}.npz", images=np.zeros((3, 16, 16, 3), np.uint8), labels=np.arange(3))

    def make(runtime):
        values = {
            "study": {"name": "small", "directory": str(tmp_path / "runs")},
            "model": {"name": "vit_tiny_patch16_224", "args": ARGS},
            "data": {"format": "npz", "path": str(tmp_path), "augmentation": "none"},
            "pruning": {"stage_keep_rates": [0.5], "blocks": [1]},
            "training": {"epochs": 1, "batch_size": 3, "selector_warmup_steps": 1},
            "latency": {"batch_size": 2, "runtime": runtime},
        }
        return validate(values, source="test")

    return make


def test_a_runtime_that_cannot_take_the_form_is_refused_before_anything_is_evaluated(experiment, tmp_path, progress):
    with pytest.raises(ConfigError, match=r"run eagerly only, but .*compiled.* --set latency.runtime=eager"):
        evaluate_experiment(experiment(Runtime.COMPILED), tmp_path / "runs", progress, ADAPTIVE)
    assert progress.texts == []


def test_a_missing_package_is_told_before_anything_is_evaluated(experiment, tmp_path, progress, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="the package onnxruntime is not installed"):
        evaluate_experiment(experiment(Runtime.ONNXRUNTIME), tmp_path / "runs", progress)
    backbone = create_backbone("vit_tiny_patch16_224", args=ARGS)
    with pytest.raises(ConfigError, match="the package onnxruntime is not installed"):
        certify(
            {"dense": backbone},
            trained=frozenset({"dense"}),
            data=DataConfig(format="npz", path=tmp_path),
            preprocessing=preprocessing_of(backbone),
            latency=LatencyConfig(runtime=Runtime.ONNXRUNTIME),
            progress=progress,
        )
    assert progress.texts == []


@pytest.mark.parametrize("runtime", [Runtime.EAGER, Runtime.ONNXRUNTIME])
def test_an_exported_folder_is_run_eagerly_in_the_adaptive_form(experiment, tmp_path, progress, monkeypatch, runtime):
    """Nothing of a folder can be set, so that no message could tell what to change."""
    monkeypatch.setattr(certificate, "NUM_ROUNDS", 2)
    ready, folder = experiment(runtime), tmp_path / "exported"
    folder.mkdir()
    save_exported(
        folder,
        build_model(trial_of(ready)),
        name=ready.model.name,
        args=ready.model.args,
        selector=ready.pruning.selector,
        head_weighting=ready.pruning.head_weighting,
        package=ready.pruning.package,
        extra={},
    )
    (folder / "config.toml").write_text(experiment_toml(ready.model_dump(mode="json")), encoding="utf-8")
    report = evaluate_export(folder, progress, ADAPTIVE)
    assert report.form is TokenForm.ADAPTIVE
    note = "" if runtime is Runtime.EAGER else ", timed eagerly: onnxruntime takes no models"
    assert report.source.startswith(f"{folder}{note}")
    assert ("timed eagerly" in report.source) == bool(note)
    assert report.latency_ms > 0.0
