"""A whole trial of a PiT: teacher, warm-up, training in both forms, resumption."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spvit.options import SelectorKind, TokenForm
from spvit.pit import PrunedPiT
from spvit.schedule import PruningSchedule
from trainers.config import TrialConfig
from trainers.fine_tune import FineTuner

SCHEDULE = PruningSchedule.from_keep_rates([0.7, 0.6, 0.5], [1, 5, 10])


def make_config(data_path: Path, **changes: object) -> TrialConfig:
    training = {
        "epochs": 2, "batch_size": 8, "freeze_epochs": 1, "selector_warmup_steps": 3, "device": "cpu",
        "num_threads": 1, "backbone_lr_scale": 0.5,
    }  # fmt: skip
    return TrialConfig.model_validate(
        {
            "model": {"name": "pit_ti_distilled_224", "args": {"img_size": 48, "in_chans": 1, "num_classes": 4}},
            "data": {"format": "npz", "path": data_path, "augmentation": "light"},
            "pruning": {"schedule": SCHEDULE, "selector": changes.pop("selector", SelectorKind.MULTI_HEAD)},
            "training": training | changes,
        }
    )


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 8)):
        labels = np.arange(count) % 4
        images = rng.integers(0, 60, (count, 48, 48), np.uint8)
        for number, label in enumerate(labels):
            images[number, 12 * label : 12 * label + 12] += 180
        np.savez(path / f"{split}.npz", images=images, labels=labels)
    return path


@pytest.mark.parametrize("form", [TokenForm.GATHERED, TokenForm.MASKED])
@pytest.mark.parametrize("selector", [SelectorKind.MULTI_HEAD, SelectorKind.CLASS_ATTENTION])
def test_a_trial_trains_what_it_should(data_path: Path, form: TokenForm, selector: SelectorKind) -> None:
    tuner = FineTuner(make_config(data_path, form=form, selector=selector))
    assert isinstance(tuner.model, PrunedPiT)
    before = {name: value.clone() for name, value in tuner.model.state_dict().items()}
    history = tuner.fit()
    assert len(history) == 2
    assert {"classification", "distillation", "token_distillation"} <= history[-1].loss_terms.keys()
    changed = {name for name, value in tuner.model.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("backbone.transformers.2.blocks.3.") for name in changed)
    if selector is SelectorKind.MULTI_HEAD:
        assert all(any(name.startswith(f"selectors.{block}.") for name in changed) for block in (1, 5, 10))
        assert not any(
            name.startswith(("backbone.patch_embed.", "backbone.transformers.0.blocks.0.")) for name in changed
        )


def test_a_resumed_trial_ends_bit_equal(data_path: Path, tmp_path: Path) -> None:
    config = make_config(data_path)
    whole = FineTuner(config)
    whole.fit()
    FineTuner(config, tmp_path).run_epoch()
    resumed = FineTuner(config, tmp_path)
    assert resumed.epoch == 1
    resumed.fit()
    pairs = zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
