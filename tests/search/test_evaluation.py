import json
from pathlib import Path

import numpy as np
import pytest
import torch

from latency_tables import stream
from search.commands.evaluate import command
from search.evaluation import evaluate_experiment, evaluate_export
from search.experiment import validate
from search.form_request import FormRequest
from search.model_facts import trial_of
from search.study_report import experiment_toml
from spvit.errors import CheckpointError, DataError, UsageError
from spvit.exported import save_exported
from spvit.options import Serving, TokenForm
from trainers.build import build_model
from trainers.fine_tune import FineTuner
from trainers.metrics import EpochMetrics, Evaluation

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

    def make(*, dtype="float32", keep_rates=(0.8, 0.5), **training):
        values = {
            "study": {"name": "small", "directory": str(tmp_path / "runs")},
            "model": {"name": "vit_tiny_patch16_224", "args": ARGS},
            "data": {"format": "npz", "path": str(tmp_path), "augmentation": "none"},
            "pruning": {"stage_keep_rates": list(keep_rates), "blocks": [1, 2][: len(keep_rates)]},
            "training": {"epochs": 1, "batch_size": 6, "selector_warmup_steps": 1} | training,
            "latency": {"batch_size": 2, "dtype": dtype},
        }
        return validate(values, source="test")

    return make


@pytest.fixture(autouse=True)
def timed(monkeypatch):
    """What was timed, really but briefly."""
    seen = {}

    def briefly(models, batches, **options):
        seen.update({name: (batches[0].dtype, model.training) for name, model in models.items()})
        seen["batches"] = batches
        return compare(models, batches, **options | {"num_rounds": 2})

    compare = stream.compare_on_batches
    monkeypatch.setattr(stream, "compare_on_batches", briefly)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_models_are_timed_in_evaluation_mode_in_the_number_format_of_the_experiment(experiment, tmp_path, timed, dtype):
    report = evaluate_experiment(experiment(dtype=dtype), tmp_path / "nothing", silent)
    assert [tuple(batch.shape) for batch in timed.pop("batches")] == [(2, 1, 16, 16)]
    assert {name: (str(kind), mode) for name, (kind, mode) in timed.items()} == {
        "dense": (f"torch.{dtype}", False),
        "pruned": (f"torch.{dtype}", False),
    }
    assert report.source == "small, after 0 of 1 epochs of fine-tuning"
    assert f"run by    eager in {dtype}" in report.to_text()
    assert (report.to_dict()["runtime"], report.to_dict()["dtype"]) == ("eager", dtype)
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


def test_the_masked_form_has_the_gathered_ones_accuracy_and_costs_more_than_the_dense_model(experiment, tmp_path):
    gathered = evaluate_experiment(experiment(), tmp_path, silent)
    masked = evaluate_experiment(experiment(), tmp_path, silent, FormRequest(form=TokenForm.MASKED))
    assert masked.evaluation.top1 == gathered.evaluation.top1
    assert masked.evaluation.loss == pytest.approx(gathered.evaluation.loss, abs=1e-5)
    assert [stage.mean for stage in masked.stages] == [stage.mean for stage in gathered.stages] == [13, 8]
    assert masked.block_tokens == (17, 18, 19)
    assert gathered.gmacs < gathered.dense_gmacs < masked.gmacs
    assert (gathered.form, masked.form) == (TokenForm.GATHERED, TokenForm.MASKED)


@pytest.mark.parametrize("serving", Serving)
def test_the_adaptive_form_tells_how_counts_are_spread_and_is_timed_on_validation_images(
    experiment, tmp_path, timed, serving
):
    request = FormRequest(form=TokenForm.ADAPTIVE, serving=serving, num_calibration_images=12)
    report = evaluate_experiment(experiment(form="masked"), tmp_path, silent, request)
    calibration = report.adaptive.thresholds.calibration
    assert calibration.num_images == 12
    assert calibration.target_keep_rates == (13 / 16, 8 / 16)
    for stage, rate in zip(report.stages, calibration.keep_rates, strict=True):
        assert sum(stage.histogram.values()) == report.evaluation.num_images == 12
        assert stage.mean == pytest.approx(sum(count * n for count, n in stage.histogram.items()) / 12)
        assert min(stage.histogram) <= stage.p10 <= stage.mean <= stage.p90 <= max(stage.histogram)
        assert rate == pytest.approx(stage.target / 16, abs=1 / 12 / 16)
    assert report.block_tokens[1:] == pytest.approx(
        [1 + stage.mean + number for number, stage in enumerate(report.stages, start=1)], abs=number_without(report)
    )
    assert [batch.shape[0] for batch in timed["batches"]] == [2] * 32
    shown = torch.cat(timed["batches"]).add(1.0).mul(127.5).round().to(torch.uint8).squeeze(1).numpy()
    images = np.load(tmp_path / "val.npz")["images"]
    assert {image.tobytes() for image in shown} == {image.tobytes() for image in images}
    text, document = report.to_text(), json.loads(json.dumps(report.to_dict()))
    assert "; trained masked" in text
    assert "calibrated on 12 training images" in text
    assert (document["form"], document["training_form"]) == ("adaptive", "masked")
    assert document["adaptive"]["serving"] == serving
    assert sum(document["stages"][0]["histogram"].values()) == 12


def number_without(report):
    """How far mean packages may be below one for each selector: images that drop nothing make none."""
    return sum(stage.histogram.get(stage.num_patches, 0) for stage in report.stages) / 12 + 1e-9


def test_gathered_and_adaptive_agree_where_all_images_keep_the_same(experiment, tmp_path):
    """Class tokens that attend alike in all images make thresholds keep what top-k keeps, image by image."""
    everything = experiment(keep_rates=[1 / 16])
    gathered = evaluate_experiment(everything, tmp_path, silent)
    adaptive = evaluate_experiment(everything, tmp_path, silent, FormRequest(form=TokenForm.ADAPTIVE))
    assert adaptive.stages[0].histogram == {1: 12} == gathered.stages[0].histogram
    assert adaptive.evaluation.loss == pytest.approx(gathered.evaluation.loss, abs=1e-6)
    assert adaptive.gmacs == gathered.gmacs


def test_without_training_images_nothing_can_be_calibrated(experiment, tmp_path):
    ready = experiment()
    (tmp_path / "train.npz").unlink()
    with pytest.raises(DataError, match=r"train\.npz"):
        evaluate_experiment(ready, tmp_path, silent, FormRequest(form=TokenForm.ADAPTIVE))
    assert evaluate_experiment(ready, tmp_path, silent).evaluation.num_images == 12


@pytest.mark.parametrize("option", [["--serving", "bucketed"], ["--bucket", "4"], ["--calibration-images", "9"]])
def test_options_of_the_adaptive_form_are_refused_for_others(tmp_path, option):
    with pytest.raises(UsageError, match="are for --form adaptive, but the form is masked"):
        command.main([str(tmp_path), "--form", "masked", *option], standalone_mode=False)


def test_an_export_is_evaluated_in_every_form_from_the_command_line(experiment, tmp_path, capsys):
    ready = experiment()
    exported = tmp_path / "exported"
    exported.mkdir()
    pruning = ready.pruning
    save_exported(
        exported,
        build_model(trial_of(ready)),
        name=ready.model.name,
        args=ready.model.args,
        selector=pruning.selector,
        head_weighting=pruning.head_weighting,
        package=pruning.package,
        extra={},
    )
    (exported / "config.toml").write_text(experiment_toml(ready.model_dump(mode="json")), encoding="utf-8")
    seen = {}
    for form in TokenForm:
        command.main([str(exported), "--form", form.value, "--json"], standalone_mode=False)
        seen[form] = json.loads(capsys.readouterr().out)
    assert [document["evaluation"]["form"] for document in seen.values()] == ["gathered", "masked", "adaptive"]
    assert [document["adaptive"] is None for document in seen.values()] == [True, True, False]


def test_metrics_of_an_epoch_keep_the_form():
    evaluation = Evaluation(top1=1.0, top5=2.0, loss=3.0, num_images=4, form=TokenForm.MASKED)
    metrics = EpochMetrics(epoch=1, evaluation=evaluation)
    assert EpochMetrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics


def test_a_folder_that_is_no_export_says_so(tmp_path: Path):
    with pytest.raises(CheckpointError, match="a folder written by `spvit-search export` was required"):
        evaluate_export(tmp_path, silent)
