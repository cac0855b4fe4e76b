from pathlib import Path

import numpy as np
import pytest

from latency_tables import timing
from search.evaluation import evaluate_experiment, evaluate_export
from search.experiment import validate
from search.model_facts import trial_of
from spvit.errors import CheckpointError
from trainers.fine_tune import FineTuner

ARGS = {"img_size": 16, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 4}


def silent(_share: float, _text: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def experiment(tmp_path):
    """A function that makes an experiment with settings of its own for [training] and [latency]."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        images = rng.integers(0, 256, (12, 16, 16), dtype=np.uint8)
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(12) % 4)

    def make(*, dtype="float32", **training):
        values = {
            "study": {"name": "small", "directory": str(tmp_path / "runs")},
            "model": {"name": "vit_tiny_patch16_224", "args": ARGS},
            "data": {"format": "npz", "path": str(tmp_path), "augmentation": "none"},
            "pruning": {"stage_keep_rates": [0.8, 0.5], "blocks": [1, 2]},
            "training": {"epochs": 1, "batch_size": 6, "selector_warmup_steps": 1} | training,
            "latency": {"batch_size": 2, "dtype": dtype},
        }
        return validate(values, source="test")

    return make


@pytest.fixture(autouse=True)
def timed(monkeypatch):
    """What was timed, really but briefly."""
    seen = {}

    def briefly(models, images, **options):
        seen.update({name: (images.dtype, model.training) for name, model in models.items()})
        return compare(models, images, **options | {"num_rounds": 2})

    compare = timing.compare_models
    monkeypatch.setattr(timing, "compare_models", briefly)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_models_are_timed_in_evaluation_mode_in_the_number_format_of_the_experiment(experiment, tmp_path, timed, dtype):
    report = evaluate_experiment(experiment(dtype=dtype), tmp_path / "nothing", silent)
    assert {name: (str(kind), mode) for name, (kind, mode) in timed.items()} == {
        "dense": (f"torch.{dtype}", False),
        "pruned": (f"torch.{dtype}", False),
    }
    assert report.source == "small, after 0 of 1 epochs of fine-tuning"
    assert report.block_tokens == (17, 1 + 13 + 1, 1 + 8 + 2)


def test_evaluating_reads_the_fine_tuned_weights_and_leaves_those_of_other_settings_alone(experiment, tmp_path):
    tuner = FineTuner(trial_of(experiment()), tmp_path / "run" / "fine_tune")
    (metrics,) = tuner.fit()
    report = evaluate_experiment(experiment(), tmp_path / "run", silent)
    assert report.source == "small, after 1 of 1 epochs of fine-tuning"
    assert report.evaluation == metrics.evaluation
    other = evaluate_experiment(experiment(lr=1e-3), tmp_path / "run", silent)
    assert "after 0 of 1 epochs" in other.source
    assert [path.name for path in (tmp_path / "run" / "fine_tune").iterdir()] == ["checkpoint-000001"]


def test_a_folder_that_is_no_export_says_so(tmp_path: Path):
    with pytest.raises(CheckpointError, match="a folder written by `spvit-search export` was required"):
        evaluate_export(tmp_path, silent)
