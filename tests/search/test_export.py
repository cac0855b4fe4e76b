import json
import resource
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_study import as_elastic

import spvit
from latency_tables.conditions import Conditions
from latency_tables.device import DeviceFingerprint
from latency_tables.key import BackboneShape, Runtime, SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from latency_tables.table import EndToEndCheck, LatencyTable
from search.certificate import Certificate, Verdict
from search.experiment import load_experiment, validate
from search.export import export as export_all
from search.export_elastic import export_elastic, spread_over
from search.trial_model import load_trial_model
from spvit.errors import CheckpointError, NothingFeasibleError, StorageError, UsageError
from trainers.build import build_model
from trainers.checkpoint import save_checkpoint


def export(*args, **kwargs):
    """Weights alone: writing the other formats takes seconds; see test_export_formats.py."""
    return export_all(*args, **{"formats": ()} | kwargs)


ARGS = {"img_size": 16, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 4}


def row(ms):
    return Measurement(median_ms=ms, low_ms=0.98 * ms, high_ms=1.02 * ms, num_samples=9)


@pytest.fixture
def table():
    device = DeviceFingerprint.detect()
    shape = BackboneShape(
        depth=3, num_patches=16, num_prefix_tokens=1, embed_dim=32, num_heads=2, mlp_ratio=4.0, num_patch_inputs=16,
        num_classes=4,
    )  # fmt: skip
    errors = {f"{kind}_error_percent": 1.0 for kind in ("median", "p90", "max")}
    return LatencyTable(
        key=TableKey(device_id=device.id, backbone="vit_tiny_patch16_224", shape=shape, batch_size=4),
        device=device,
        selector=SelectorOptions(),
        stem=row(0.4),
        head=row(0.1),
        dense=row(10.0),
        reference=row(2.0),
        blocks={n: row(0.1 * n) for n in (2, 10, 17)},
        selections={n: row(0.01 * n) for n in (3, 10, 17)},
        end_to_end=EndToEndCheck(scale=1.0, num_fitted=5, num_checked=5, **errors),
        conditions=Conditions(
            created_at=datetime(2026, 1, 2, tzinfo=UTC),
            load_average=0.1,
            cpu_pressure_percent=None,
            reference_spread_percent=5.0,
        ),
    )


@pytest.fixture
def trained(study, tmp_path):
    """The small study with data, and checkpoints of its trials 0 and 1."""
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        images = rng.integers(0, 256, (12, 16, 16), dtype=np.uint8)
        np.savez(data / f"{split}.npz", images=images, labels=np.arange(12) % 4)
    values = {
        "study": {"name": "small", "directory": str(tmp_path / "runs")},
        "model": {"name": "vit_tiny_patch16_224", "args": ARGS},
        "data": {"format": "npz", "path": str(data), "augmentation": "none"},
        "pruning": {"stage_keep_rates": [0.8, 0.5], "blocks": [1, 2]},
        "latency": {"batch_size": 4},
    }
    experiment = validate(values, source="test")
    trials = tuple(
        replace(t, config=experiment.fixed_trial(depth=3).to_dict()) if t.number < 2 else t for t in study.trials
    )
    for number in (0, 1):
        torch.manual_seed(number)
        weights = build_model(experiment.fixed_trial(depth=3)).state_dict()
        changed = {key: value + 0.01 * torch.randn_like(value) for key, value in weights.items()}
        directory = Path(study.directory) / "trials" / str(number)
        save_checkpoint(directory, 3, weights=changed, optimizer={}, meta={})
    return replace(study, experiment=experiment.model_dump(mode="json"), trials=trials)


@pytest.fixture
def exported(trained, table, tmp_path):
    """An export of trial 1, and its report."""
    destination = tmp_path / "out" / "model"
    return destination, export(trained, trained.trials[1], destination, table=table, time_limit_s=0.2)


def test_exported_model_gives_the_logits_of_the_trained_one(trained, exported):
    images = torch.randn(3, 1, 16, 16)
    with torch.inference_mode():
        expected = load_trial_model(trained, trained.trials[1])(images)
        assert torch.equal(spvit.load_exported(exported[0])(images), expected)


def test_report_says_what_was_measured_and_is_stored(exported):
    destination, report = exported
    assert set(report.models) == {"dense", "exported", "fixed schedule"}
    assert report.models["dense"].val_top1 is None  # it has random weights
    assert report.measured.val_top1 is not None
    assert report.measured.test_top1 is not None
    assert report.measured.ratio_low <= report.measured.ratio <= report.measured.ratio_high
    assert report.keep_rates == (0.8, 0.5)
    assert json.loads((destination / "certificate.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert f"budget 6.000 ms: **{report.verdict}**" in (destination / "README.md").read_text()


def test_config_runs_again_with_the_same_schedule(trained, exported):
    experiment = load_experiment(exported[0] / "config.toml")
    assert experiment.fixed_trial(depth=3).pruning.schedule.keep_rates == (0.8, 0.5)
    assert experiment.search.space.stage_keep_rates is None
    assert experiment.study.name == "small-trial-1"


def test_description_tells_how_images_are_prepared(exported):
    description = json.loads((exported[0] / "config.json").read_text())
    assert description["input"]["height"] == 16
    assert description["input"]["num_channels"] == 1
    assert len(description["class_names"]) == 4


def test_nothing_is_left_beside_an_export(exported):
    assert [path.name for path in exported[0].parent.iterdir()] == ["model"]


def test_an_export_is_replaced_only_when_asked(trained, table, exported):
    destination, _ = exported
    with pytest.raises(UsageError, match="exists already; give --force"):
        export(trained, trained.trials[1], destination, table=table)
    report = export(trained, trained.trials[0], destination, table=table, force=True, time_limit_s=0.2)
    assert json.loads((destination / "certificate.json").read_text())["trial"] == report.trial == 0


def test_a_folder_that_is_no_export_is_never_replaced(trained, table, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is no export"):
        export(trained, trained.trials[1], tmp_path / "thesis", table=table, force=True)
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_a_failure_leaves_neither_half_an_export_nor_the_old_one_damaged(trained, table, exported, monkeypatch):
    destination, _ = exported
    before = (destination / "certificate.json").read_bytes()

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("search.export.shutil.copyfile", full)
    with pytest.raises(StorageError, match="No space left on device"):
        export(trained, trained.trials[0], destination, table=table, force=True, time_limit_s=0.2)
    assert (destination / "certificate.json").read_bytes() == before
    assert [path.name for path in destination.parent.iterdir()] == ["model"]


def test_weights_that_the_system_refuses_are_a_storage_error(trained, table, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(StorageError, match=r"model\.safetensors could not be written.*free space or give --output"):
            export(trained, trained.trials[1], tmp_path / "out" / "model", table=table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_trial_without_checkpoint_says_so(trained, table, tmp_path):
    with pytest.raises(CheckpointError, match="no whole checkpoint of trial 2"):
        export(trained, replace(trained.trials[1], number=2), tmp_path / "x", table=table)


def test_on_another_device_than_the_tables_no_budget_is_claimed_to_be_kept(trained, table, tmp_path):
    board = replace(table.device, cpu_model="Board 7")
    foreign = replace(table, device=board, key=replace(table.key, device_id=board.id))
    report = export(trained, trained.trials[1], tmp_path / "model", table=foreign, time_limit_s=0.2)
    assert report.verdict is Verdict.NOT_ON_TARGET
    assert report.dense_ms == trained.dense_latency.mean_ms
    text, card = report.to_text(), (tmp_path / "model" / "README.md").read_text()
    assert f"ms predicted for {board.id} and not measured there; " in text
    assert f"budget     6.000 ms on {board.id}: not measured on the target" in text
    assert f"budget 6.000 ms on {board.id}: **not measured on the target**" in card
    assert f"predicted by the latency table for {board.id}" in card
    assert json.loads((tmp_path / "model" / "certificate.json").read_text())["is_on_target"] is False
    assert not any(f": {verdict}" in text for verdict in ("met", "not met", "uncertain"))


def test_what_ran_the_model_is_stated(exported):
    destination, report = exported
    written = json.loads((destination / "certificate.json").read_text())
    assert (written["runtime"], written["dtype"], written["table_runtime"]) == ("eager", "float32", "eager")
    assert "run by     eager in float32, batches of 4" in report.to_text()
    assert "one batch of 4 images in float32, run by eager" in (destination / "README.md").read_text()


@pytest.mark.parametrize("change", ["runtime", "target"])
def test_a_table_of_another_runtime_or_for_elsewhere_is_not_compared_with_what_ran_here(
    trained, table, tmp_path, change
):
    if change == "runtime":
        foreign = replace(table, key=replace(table.key, runtime=Runtime.ONNXRUNTIME))
        report = export(trained, trained.trials[1], tmp_path / "model", table=foreign, time_limit_s=0.2)
        assert f"predicted for {table.device.id} by onnxruntime and not measured there" in report.to_text()
        assert f"here, on {report.device} by eager" in report.to_text()
    else:
        latency = trained.experiment["latency"] | {"target": "other_device"}
        elsewhere = replace(trained, experiment=trained.experiment | {"latency": latency})
        report = export(elsewhere, trained.trials[1], tmp_path / "model", table=table, time_limit_s=0.2)
    assert report.verdict is Verdict.NOT_ON_TARGET


@pytest.mark.parametrize(
    ("ratio_low", "ratio_high", "verdict"),
    [(0.4, 0.6, Verdict.MET), (0.55, 0.65, Verdict.UNCERTAIN), (0.61, 0.7, Verdict.NOT_MET)],
)
def test_verdict_respects_the_interval(ratio_low, ratio_high, verdict):
    certificate = Certificate(
        val_top1=None, test_top1=None, p50_ms=5.0, p95_ms=6.0, ratio=0.6, ratio_low=ratio_low, ratio_high=ratio_high
    )
    assert certificate.verdict(dense_ms=10.0, max_latency_ms=6.0) is verdict


@pytest.fixture
def elastic(trained):
    """The small study whose trial 1 trained weights for many schedules."""
    return as_elastic(trained, 1)


def test_of_one_schedule_it_is_the_most_accurate(elastic):
    priced = elastic.trials[1].priced
    assert spread_over(priced, 1) == (max(priced, key=lambda each: (each.top1, -each.cost)),)


def test_elastic_weights_come_with_the_schedules_that_they_serve_best(elastic, table, tmp_path):
    report = export_elastic(elastic, tmp_path / "many", table=table, num_schedules=3, time_limit_s=0.2)
    assert [each.keep_rates for each in report.schedules] == [(0.3, 0.2), (0.9, 0.8)]  # .6, .4 is slower and worse
    certificate = json.loads((tmp_path / "many" / "certificate.json").read_text())
    assert certificate["trial"] == 1
    assert [each["high_ms"] for each in certificate["schedules"]] == [each.high_ms for each in report.schedules]
    experiment = load_experiment(tmp_path / "many" / "config.toml")
    assert (experiment.search.mode, experiment.search.elastic.num_trials) == ("elastic", 1)
    assert experiment.losses.distillation == elastic.trials[1].config["losses"]["distillation"]
    images, trained_model = torch.randn(3, 1, 16, 16), load_trial_model(elastic, elastic.trials[1])
    for each in report.schedules:
        alone = [other for other in report.schedules if other.high_ms <= each.high_ms]
        best = max(alone, key=lambda other: (other.val_top1, -other.high_ms))
        with torch.inference_mode():
            loaded = spvit.load(tmp_path / "many", max_latency_ms=each.high_ms)(images)
            torch.testing.assert_close(loaded, trained_model.at(best.schedule)(images), rtol=0, atol=1e-6)
    with pytest.raises(NothingFeasibleError, match="a schedule within 1e-06 ms was asked for"):
        spvit.load(tmp_path / "many", max_latency_ms=1e-6)


def test_elastic_weights_that_are_not_there_are_refused(elastic, trained, table, tmp_path):
    with pytest.raises(UsageError, match="has no elastic trial that was trained to the end"):
        export_elastic(trained, tmp_path / "many", table=table, num_schedules=3)
    with pytest.raises(UsageError, match="trial 0 of study 'small' is no elastic one, trained to the end; those: 1"):
        export_elastic(elastic, tmp_path / "many", table=table, num_schedules=3, number=0)


def test_a_single_schedule_is_not_chosen_by_latency(exported):
    with pytest.raises(UsageError, match="this export holds one alone"):
        spvit.load(exported[0], max_latency_ms=5.0)
