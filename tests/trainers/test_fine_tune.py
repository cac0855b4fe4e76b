"""Whole trials on a tiny model: what was interrupted ends as if it had not been, and what diverges says so."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import MODEL

from spvit.errors import CheckpointError, ConfigError, DataError, DivergedError, UsageError
from spvit.options import TokenForm
from spvit.schedule import PruningSchedule
from trainers.checkpoint import latest_checkpoint
from trainers.config import LossWeights, TrialConfig
from trainers.data import Loading, Split, open_split
from trainers.effective import differences, expected_facts
from trainers.evaluate import evaluate
from trainers.fine_tune import FineTuner
from trainers.metrics import Weights
from trainers.preprocessing import preprocessing_of

TRAINING = {
    "epochs": 3, "batch_size": 8, "freeze_epochs": 1, "selector_warmup_steps": 4, "device": "cpu", "num_threads": 1,
    "mixup": 0.2, "cutmix": 0.0, "images_per_epoch": 24, "backbone_lr_scale": 0.5,
}  # fmt: skip
SCHEDULE = PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2])


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 20)):
        labels = np.arange(count) % 4
        images = rng.integers(0, 60, (count, 8, 8), np.uint8)
        for number, label in enumerate(labels):
            images[number, 2 * label : 2 * label + 2, 2:6] += 180
        np.savez(path / f"{split}.npz", images=images, labels=labels)
    return path


@pytest.fixture
def config(data_path: Path) -> TrialConfig:
    return make_config(data_path)


def make_config(data_path: Path, *, schedule: PruningSchedule = SCHEDULE, **training: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "model": MODEL,
            "data": {"format": "npz", "path": data_path, "augmentation": "light"},
            "pruning": {"schedule": schedule},
            "training": TRAINING | training,
        }
    )


def same_weights(one: FineTuner, other: FineTuner) -> bool:
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}])
def test_a_longer_training_goes_on_from_the_checkpoint_of_a_shorter_one(
    data_path: Path, tmp_path: Path, changes: dict[str, Any]
):
    shorter = FineTuner(make_config(data_path, epochs=2, **changes), tmp_path / "shorter")
    shorter.fit()
    shutil.copytree(tmp_path / "shorter" / "checkpoint-000002", tmp_path / "longer" / "checkpoint-000002")
    config = make_config(data_path, epochs=4, continues_epochs=2, **changes)
    longer = FineTuner(config, tmp_path / "longer")
    assert (longer.epoch, longer.history) == (2, shorter.history)
    assert same_weights(longer, shorter)
    longer.fit(lambda metrics: metrics.epoch < 3)
    again = FineTuner(config, tmp_path / "longer")
    assert again.epoch == 3  # from its own checkpoint now
    assert again.fit()[-1].lr < longer.history[2].lr
    assert latest_checkpoint(tmp_path / "shorter").step == 2


@pytest.mark.parametrize("other", [{}, {"continues_epochs": 3}, {"continues_epochs": 2, "lr": 1e-3}])
def test_a_training_goes_on_from_no_other_checkpoint(data_path: Path, tmp_path: Path, other: dict[str, Any]):
    FineTuner(make_config(data_path, epochs=2), tmp_path).fit()
    assert FineTuner(make_config(data_path, epochs=4, **other), tmp_path).epoch == 0


def test_a_training_that_goes_on_with_one_as_long_is_refused(data_path: Path):
    with pytest.raises(ValueError, match=r"continues_epochs \(3\) must be less than epochs \(3\)"):
        make_config(data_path, continues_epochs=3)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}, {"micro_batch_size": 3, "temperature_end": 0.5}])
@pytest.mark.parametrize("stop_after", [1, 2])
def test_interrupted_run_ends_bit_equal(data_path: Path, tmp_path: Path, stop_after: int, changes: dict[str, Any]):
    config = make_config(data_path, **changes)
    whole = FineTuner(config)
    whole.fit()
    FineTuner(config, tmp_path).fit(lambda metrics: metrics.epoch < stop_after)
    torch.manual_seed(123)
    resumed = FineTuner(config, tmp_path)
    assert resumed.epoch == stop_after
    resumed.fit()
    assert same_weights(whole, resumed)
    assert [m.evaluation for m in whole.history] == [m.evaluation for m in resumed.history]
    assert [m.loss_terms for m in whole.history] == [m.loss_terms for m in resumed.history]


def test_damaged_checkpoint_costs_one_epoch_not_the_result(config: TrialConfig, tmp_path: Path):
    whole = FineTuner(config, tmp_path)
    whole.fit()
    weights = tmp_path / "checkpoint-000003" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    resumed = FineTuner(config, tmp_path)
    assert resumed.epoch == 2
    resumed.fit()
    assert same_weights(whole, resumed)


def test_moving_average_is_what_is_evaluated_and_saved(data_path: Path, tmp_path: Path):
    tuner = FineTuner(make_config(data_path, ema_decay=0.9, lr=1e-2), tmp_path)
    tuner.fit()
    assert {metrics.weights for metrics in tuner.history} == {Weights.EMA}
    saved = latest_checkpoint(tmp_path)
    assert saved is not None
    trained = tuner.model.state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in saved.training_weights().items())
    moved = [name for name, tensor in saved.weights().items() if not torch.equal(tensor, trained[name])]
    assert any(name.startswith("selectors.") for name in moved)
    tuner.model.load_state_dict(saved.weights())
    loading = Loading(batch_size=8, training=False)
    val = open_split(make_config(data_path).data, Split.VAL, preprocessing_of(tuner.model.backbone), loading)
    assert evaluate(tuner.model, val.epoch(0)) == tuner.history[-1].evaluation


def test_compiled_step_trains_like_the_plain_one(data_path: Path):
    schedule = PruningSchedule.from_keep_rates([0.5], [2])  # one block to compile for each of student and teacher
    changes = {"schedule": schedule, "noise_scale": 0.0, "epochs": 1, "precision": "float32"}
    plain = FineTuner(make_config(data_path, **changes)).run_epoch()
    try:
        compiled = FineTuner(make_config(data_path, **changes, compile=True)).run_epoch()
    except ConfigError:
        pytest.skip("there is no C++ compiler here")
    assert compiled.loss_terms == pytest.approx(plain.loss_terms, rel=1e-3)


def test_epoch_reports_every_term_and_its_progress(config: TrialConfig):
    tuner = FineTuner(config)
    seen: list[tuple[int, int]] = []
    first = tuner.run_epoch(lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert set(first.loss_terms) == {"total", "classification", "ratio", "distillation", "token_distillation"}
    assert first.evaluation.num_images == 20
    assert config.training.min_lr < first.lr < config.training.lr
    tuner.fit()
    assert tuner.is_done
    with pytest.raises(UsageError, match="All 3 epochs"):
        tuner.run_epoch()


def test_pruned_model_learns(data_path: Path):
    alone = {"ratio": 1.0, "distillation": 0.0, "token_distillation": 0.0}
    training = {"epochs": 50, "freeze_epochs": 0, "backbone_lr_scale": 1.0, "freeze_leading": False, "mixup": 0.0}
    config = make_config(data_path, **training, lr=5e-3, images_per_epoch=None)
    history = FineTuner(config.model_copy(update={"losses": LossWeights(**alone)})).fit()
    assert set(history[-1].loss_terms) == {"total", "classification", "ratio"}
    assert history[-1].evaluation.top1 > 60.0


def test_what_is_frozen_does_not_move(data_path: Path):
    tuner = FineTuner(make_config(data_path, epochs=2, freeze_epochs=1))
    start = {name: tensor.clone() for name, tensor in tuner.model.state_dict().items()}

    def moved() -> set[str]:
        return {name for name, tensor in tuner.model.state_dict().items() if not torch.equal(tensor, start[name])}

    tuner.run_epoch()
    assert moved()
    assert all(name.startswith("selectors.") for name in moved())
    tuner.run_epoch()
    leading = ("backbone.patch_embed", "backbone.pos_embed", "backbone.cls_token", "backbone.blocks.0.")
    assert not [name for name in moved() if name.startswith(leading)]
    assert {"backbone.blocks.1.mlp.fc1.weight", "backbone.head.weight"} <= moved()


@pytest.mark.parametrize(
    "changes",
    [
        {"form": TokenForm.MASKED},
        {"precision": "bfloat16"},
        {"precision": "float32", "ema_decay": 0.99},
        {"freeze_leading": False, "freeze_epochs": 0, "clip_grad_norm": None},
        {"schedule": PruningSchedule(), "freeze_epochs": 5},
        {"backbone_lr_scale": 0.0},
        {"schedule": PruningSchedule(), "backbone_lr_scale": 0.0},
        {"cutmix": 1.0, "label_smoothing": 0.1, "warmup_epochs": 0.5},
    ],
)
def test_every_way_of_training_runs(data_path: Path, changes: dict[str, Any]):
    metrics = FineTuner(make_config(data_path, epochs=1, **changes)).run_epoch()
    assert np.isfinite(metrics.evaluation.loss)


def test_divergence_names_step_and_terms(data_path: Path, tmp_path: Path):
    huge = make_config(data_path, lr=1e30, backbone_lr_scale=1.0, freeze_epochs=0, clip_grad_norm=None)
    with pytest.raises(DivergedError, match=r"must be finite, but by step \d+ .*classification.*Lower training\.lr"):
        FineTuner(huge, tmp_path).fit()
    assert latest_checkpoint(tmp_path) is None


def test_checkpoint_of_another_configuration_is_not_continued(data_path: Path, tmp_path: Path):
    FineTuner(make_config(data_path), tmp_path).run_epoch()
    assert FineTuner(make_config(data_path, num_threads=None), tmp_path).epoch == 1
    assert FineTuner(make_config(data_path, seed=1), tmp_path).epoch == 0


def test_mistakes_show_before_training(data_path: Path, tmp_path: Path):
    config = make_config(data_path)
    narrow = config.model_copy(update={"data": config.data.model_copy(update={"path": tmp_path})})
    with pytest.raises(DataError, match=r"train\.npz is missing"):
        FineTuner(narrow)
    absent = config.model.model_copy(update={"checkpoint": tmp_path / "absent.safetensors"})
    with pytest.raises(CheckpointError, match=r"absent\.safetensors"):
        FineTuner(config.model_copy(update={"model": absent}))


def test_training_leaves_the_global_generator_alone(config: TrialConfig):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    FineTuner(config).run_epoch()
    assert torch.equal(torch.rand(1), expected)


def test_what_was_built_is_told_by_what_was_built(data_path: Path, config: TrialConfig) -> None:
    plan = SCHEDULE.plan(FineTuner(config).model.geometry)
    counts = [selection.num_kept for selection in plan.selections]
    expected = expected_facts(config, blocks=[1, 2], keep_counts=counts)
    assert FineTuner(config).facts == expected
    other = make_config(data_path, schedule=PruningSchedule.from_keep_rates([0.6], [1]), epochs=2)
    assert differences(expected, FineTuner(other).facts) == [
        "blocks is [1], not [1, 2]",
        f"keep_counts is {counts[:1]}, not {counts}",
        "training.epochs is 2, not 3",
    ]
