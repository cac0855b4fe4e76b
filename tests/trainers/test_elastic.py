"""One training for many schedules: repeatable, resumable, and a start for each of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import MODEL, save_noise

from spvit.errors import CheckpointError, ConfigError
from spvit.schedule import PruningSchedule
from trainers.build import build_model, identity_of, original_backbone
from trainers.config import ElasticConfig, ElasticTeacher, StartWeights, TrialConfig
from trainers.elastic import ElasticTuner, make_sampler, specialised
from trainers.elastic_step import DENSE, DENSE_TERM, StepPlans
from trainers.fine_tune import FineTuner
from trainers.latency_target import LatencyCurve, LatencyTarget
from trainers.many_schedules import price_schedules
from trainers.metrics import EpochMetrics
from trainers.schedule_prices import price_of_schedules
from trainers.start_weights import ShareRule

TRAINING = {
    "epochs": 3, "batch_size": 8, "freeze_epochs": 1, "selector_warmup_steps": 2, "device": "cpu", "num_threads": 1,
    "mixup": 0.2, "cutmix": 0.0, "images_per_epoch": 24, "backbone_lr_scale": 0.5,
}  # fmt: skip
HOME = PruningSchedule.from_keep_rates([0.6, 0.3], [1, 2])
ELASTIC = {"num_priced": 2}


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_noise(tmp_path_factory.mktemp("data"), train=40, val=12)


def make_config(data_path: Path, *, elastic: dict[str, Any] | None = ELASTIC, **training: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "model": MODEL,
            "data": {"format": "npz", "path": data_path, "augmentation": "light"},
            "pruning": {"schedule": HOME},
            "training": TRAINING | training,
            "elastic": elastic,
        }
    )


def weights_of(tuner: FineTuner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tuner.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "micro_batch_size": 3}])
def test_interrupted_run_ends_bit_equal(data_path: Path, tmp_path: Path, changes: dict[str, Any]):
    config = make_config(data_path, elastic=ELASTIC | {"min_selectors": 1}, **changes)
    whole = ElasticTuner(config)
    whole.fit()
    ElasticTuner(config, tmp_path).fit(lambda metrics: metrics.epoch < 2)
    torch.manual_seed(5)
    resumed = ElasticTuner(config, tmp_path)
    assert resumed.epoch == 2
    assert resumed.priced == resumed.history[-1].priced
    resumed.fit()
    assert same(weights_of(whole), weights_of(resumed))
    assert [m.evaluation for m in whole.history] == [m.evaluation for m in resumed.history]
    assert [m.priced for m in whole.history] == [m.priced for m in resumed.history]
    assert [m.loss_terms for m in whole.history] == [m.loss_terms for m in resumed.history]


@pytest.mark.parametrize(
    ("elastic", "training"),
    [
        ({"teacher": "dense", "sandwich_share": 0.0}, {}),
        ({"teacher": "dense", "drawn_classification": 0.0, "sandwich_share": 1.0}, {"precision": "bfloat16"}),
        ({"sandwich_share": 1.0}, {"freeze_leading": False, "freeze_epochs": 0}),
        ({"max_selectors": 1, "min_selectors": 1}, {"precision": "float32", "backbone_lr_scale": 0.0}),
    ],
)
def test_every_way_of_training_runs(data_path: Path, elastic: dict[str, Any], training: dict[str, Any]):
    tuner = ElasticTuner(make_config(data_path, elastic=ELASTIC | elastic, epochs=1, **training))
    metrics = tuner.run_epoch()
    assert np.isfinite(metrics.evaluation.loss)
    assert set(metrics.loss_terms) == {
        "total", "classification", "distillation", "token_distillation", DENSE_TERM,
    }  # fmt: skip
    assert (metrics.loss_terms[DENSE_TERM] > 0) == (tuner._config.elastic.sandwich_share > 0)  # type: ignore[union-attr]


def test_all_selectors_learn_and_what_is_frozen_does_not(data_path: Path):
    tuner = ElasticTuner(make_config(data_path, epochs=1, freeze_epochs=0))
    start = weights_of(tuner)
    tuner.run_epoch()
    moved = {name for name, tensor in tuner.model.state_dict().items() if not torch.equal(tensor, start[name])}
    assert {"selectors.1.out.weight", "selectors.2.out.weight", "backbone.blocks.1.mlp.fc1.weight"} <= moved
    assert not [name for name in moved if name.startswith(("backbone.patch_embed", "backbone.blocks.0."))]


def test_steps_are_drawn_by_seed_epoch_and_step_alone(data_path: Path):
    config = make_config(data_path)
    model = build_model(config)
    plans = [StepPlans(make_sampler(model, config), seed=3, sandwich_share=0.25) for _ in range(2)]
    first = [plans[0].at(0, step) for step in range(12)]
    assert [plans[1].at(0, step) for step in reversed(range(12))] == first[::-1]
    assert sum(plan.is_sandwich for plan in first) == 3
    assert [plan.is_sandwich for plan in first[4:]] == [plan.is_sandwich for plan in first[:-4]]
    assert plans[0].at(1, 0) != first[0]
    assert len({plan.schedule for plan in first}) > 8


def test_an_epoch_is_worth_the_mean_of_its_priced_schedules(data_path: Path):
    tuner = ElasticTuner(make_config(data_path, epochs=1))
    assert all(priced.top1 is None for priced in tuner.priced)
    metrics = tuner.run_epoch()
    assert [priced.cost for priced in tuner.priced] == sorted(priced.cost for priced in tuner.priced)
    assert metrics.evaluation.top1 == pytest.approx(np.mean([priced.top1 for priced in tuner.priced]))
    assert metrics.priced == tuner.priced
    assert EpochMetrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics
    scores = tuner.price([priced.schedule for priced in tuner.priced])
    assert scores.top1.tolist() == [priced.top1 for priced in tuner.priced]


def test_a_specialised_trial_starts_as_the_elastic_weights_are(data_path: Path, tmp_path: Path):
    config = make_config(data_path, epochs=1)
    elastic = ElasticTuner(config, tmp_path)
    elastic.run_epoch()
    schedule = PruningSchedule.from_keep_rates([0.4], [2])
    trial = specialised(config, schedule, tmp_path, epochs=2)
    assert trial.start is not None
    trial = trial.model_copy(update={"start": trial.start.model_copy(update={"backbone_share": 1.0})})
    assert (trial.elastic, trial.training.epochs, trial.pruning.schedule) == (None, 2, schedule)
    tuner = FineTuner(trial)
    trained = weights_of(elastic)
    assert same(weights_of(tuner), {name: trained[name] for name in tuner.model.state_dict()})
    batches = list(tuner._data.val.epoch(0))
    alone = price_schedules(tuner.model, [schedule], batches)
    assert np.array_equal(alone.correct, elastic.price([schedule]).correct)
    tuner.fit()
    assert tuner.is_done


@pytest.mark.parametrize(("keep_rates", "is_whole"), [([0.1, 0.1], True), ([1.0, 0.8], False)])
def test_the_less_a_schedule_drops_the_more_it_starts_from_the_original(
    data_path: Path, tmp_path: Path, keep_rates: list[float], is_whole: bool
):
    config = make_config(data_path, epochs=1, freeze_epochs=0, lr=1e-2)
    elastic = ElasticTuner(config, tmp_path)
    elastic.run_epoch()
    model = build_model(specialised(config, PruningSchedule.from_keep_rates(keep_rates, [1, 2]), tmp_path))
    trained, original = weights_of(elastic), original_backbone(config).state_dict()
    plan, dense = model.plan.block_tokens, PruningSchedule().plan(model.geometry, model.package).block_tokens
    share = min(1.0, 2 * (1 - sum(plan) / sum(dense)))
    assert (share == 1.0) == is_whole
    for name, tensor in model.state_dict().items():
        part, _, rest = name.partition(".")
        mixed = trained[name] if part != "backbone" else torch.lerp(original[rest], trained[name], share)
        torch.testing.assert_close(tensor, mixed, rtol=1e-5, atol=1e-6, msg=name)
    assert any(not torch.equal(original[n.partition(".")[2]], t) for n, t in trained.items() if n.startswith("back"))


def test_a_specialised_trial_learns_from_the_original_backbone(data_path: Path, tmp_path: Path):
    config = make_config(data_path, epochs=1, freeze_epochs=0, freeze_leading=False, lr=1e-2)
    ElasticTuner(config, tmp_path).run_epoch()
    tuner = FineTuner(specialised(config, HOME, tmp_path))
    images, _ = next(iter(tuner._data.val.epoch(0)))
    leading = tuner.model.leading_tokens(images)
    with torch.no_grad():
        expected = original_backbone(config).eval()(images)
    assert not torch.allclose(tuner.model.eval().at(DENSE)(images), expected, atol=1e-3)
    for tokens in (None, leading):  # those of a student whose leading part has been trained are of no use
        taught = tuner._step.teacher(images, tokens)
        torch.testing.assert_close(taught.logits, expected, rtol=1e-4, atol=1e-5)


def test_weights_that_changed_are_not_started_from(data_path: Path, tmp_path: Path):
    config = make_config(data_path, epochs=1)
    ElasticTuner(config, tmp_path).run_epoch()
    trial = specialised(config, HOME, tmp_path)
    assert trial.start is not None
    wrong = trial.start.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(CheckpointError, match=r"SHA-256 0{64}, but its SHA-256 is"):
        build_model(trial.model_copy(update={"start": wrong}))
    with pytest.raises(CheckpointError, match=r"absent\.safetensors, which cannot be read"):
        StartWeights.of(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        specialised(config, HOME, tmp_path / "empty")
    narrow = trial.model.model_copy(update={"args": {**MODEL["args"], "embed_dim": 12}})  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match=r"in another shape backbone\."):
        build_model(trial.model_copy(update={"model": narrow}))


def test_selectors_stand_only_where_the_weights_have_some(data_path: Path, tmp_path: Path):
    config = make_config(data_path, epochs=1, elastic=ELASTIC)
    config = config.model_copy(
        update={"pruning": config.pruning.model_copy(update={"schedule": PruningSchedule.from_keep_rates([0.5], [2])})}
    )
    ElasticTuner(config, tmp_path).run_epoch()
    with pytest.raises(CheckpointError, match=r"lacks selectors\.1\."):
        build_model(specialised(config, PruningSchedule.from_keep_rates([0.5], [1]), tmp_path))


def test_trials_that_are_not_elastic_are_the_ones_they_were(data_path: Path):
    config = make_config(data_path, elastic=None)
    values = config.to_dict()
    assert not {"elastic", "start"} & values.keys()
    assert TrialConfig.model_validate(values) == config
    assert identity_of(config) != identity_of(make_config(data_path))
    moved = StartWeights(path=Path("a"), sha256="1" * 64), StartWeights(path=Path("b"), sha256="1" * 64)
    one, other = (config.model_copy(update={"start": start}) for start in moved)
    assert identity_of(one) == identity_of(other) != identity_of(config)
    mixed = config.model_copy(update={"start": moved[0].model_copy(update={"backbone_share": ShareRule.BY_DROPPED})})
    assert identity_of(mixed) != identity_of(one)
    assert TrialConfig.model_validate(mixed.to_dict()) == mixed
    with pytest.raises(ConfigError, match=r"\[elastic\] section"):
        ElasticTuner(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": TRAINING | {"form": "masked"}}, r"training\.form must be 'gathered'"),
        ({"pruning": {}}, "it has no stages"),
    ],
)
def test_what_elastic_trials_cannot_be_is_said(data_path: Path, changes: dict[str, Any], message: str):
    values = make_config(data_path).to_dict() | changes
    with pytest.raises(ValueError, match=message):
        TrialConfig.model_validate(values)


def test_a_table_prices_schedules_as_the_sum_of_its_parts(data_path: Path):
    curve = LatencyCurve(num_tokens=(1, 20), times_ms=(1.0, 20.0))
    target = LatencyTarget(budget_ms=1.0, fixed_ms=5.0, blocks=curve, selections={"multi_head": curve}, last_block=None)
    config = make_config(data_path).model_copy(update={"latency": target})
    model = build_model(config)
    price = price_of_schedules(config, model)
    for schedule in (HOME, PruningSchedule()):
        plan = schedule.plan(model.geometry, model.package)
        reached = [1 + s.num_candidates + s.num_packages_before for s in plan.selections]
        assert price(schedule) == pytest.approx(5.0 + sum(plan.block_tokens) + sum(reached))
    quick_last = config.model_copy(
        update={"latency": target.model_copy(update={"last_block": LatencyCurve(num_tokens=(1, 20), times_ms=(0, 0))})}
    )
    last = HOME.plan(model.geometry).block_tokens[-1]
    assert price_of_schedules(quick_last, model)(HOME) == pytest.approx(price(HOME) - last)


def test_elastic_settings_are_read_back(data_path: Path):
    elastic = ElasticConfig(teacher=ElasticTeacher.DENSE, sandwich_share=0.25, min_selectors=1)
    config = make_config(data_path).model_copy(update={"elastic": elastic})
    assert TrialConfig.model_validate(config.to_dict()) == config
