"""One warm-up serves all trials with the same selectors, whatever their schedules, and survives damage."""

import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import ARGS

from spvit.errors import StorageError
from spvit.schedule import PruningSchedule
from trainers.build import build_model
from trainers.config import DataConfig, ModelConfig, PruningConfig, TrainingConfig, TrialConfig
from trainers.selector_start import FILE, start_key, start_selectors
from trainers.workers import WorkerGroup


class Images:
    """The same images for ever; counts how often they are asked for."""

    num_images, class_names = 16, ("0",)

    def __init__(self) -> None:
        self.images, self.num_read = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), 0

    def num_batches(self) -> int:
        return 1

    def epoch(self, epoch: int):
        self.num_read += 1
        yield self.images, torch.zeros(16, dtype=torch.int64)


def trial(rates: list[float], **training: float) -> TrialConfig:
    return TrialConfig(
        model=ModelConfig(name="vit_tiny_patch16_224", args=ARGS),
        data=DataConfig(path=Path("unused")),
        pruning=PruningConfig(schedule=PruningSchedule.from_keep_rates(rates, [1, 2])),
        training=TrainingConfig(selector_warmup_steps=5, **training),
    )


def start(config: TrialConfig, cache: Path | None) -> tuple[dict[str, torch.Tensor], int]:
    model, batches = build_model(config), Images()
    start_selectors(model, batches, config, cache=cache, workers=WorkerGroup.single())
    return dict(model.selectors.state_dict()), batches.num_read


def without_bias(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("out.bias")}


def test_second_trial_takes_the_first_ones_start(tmp_path: Path):
    first, num_read = start(trial([0.6, 0.3]), tmp_path)
    second, num_read_again = start(trial([0.5, 0.4], lr=1e-3), tmp_path)
    assert num_read_again < num_read
    for name, tensor in without_bias(first).items():
        assert torch.equal(tensor, second[name])
    assert not torch.equal(first["1.out.bias"], second["1.out.bias"])  # calibrated to another keep rate


def test_cached_start_is_the_one_made_without_a_cache(tmp_path: Path):
    config = trial([0.6, 0.3])
    start(config, tmp_path)
    cached, alone = start(config, tmp_path)[0], start(config, None)[0]
    assert all(torch.equal(cached[name], alone[name]) for name in alone)


@pytest.mark.parametrize("other", [trial([0.6, 0.3], seed=1), trial([0.6, 0.3], selector_warmup_lr=1e-3)])
def test_another_warm_up_has_another_key(other: TrialConfig):
    config = trial([0.6, 0.3])
    model = build_model(config)
    assert start_key(model, config) != start_key(model, other)
    assert start_key(model, config) == start_key(model, trial([0.5, 0.2], lr=1e-4))


def test_another_file_under_the_same_name_has_another_key(tmp_path: Path):
    config = trial([0.6, 0.3])
    model, file = build_model(config), tmp_path / "weights.pth"
    config = config.model_copy(update={"model": config.model.model_copy(update={"checkpoint": file})})
    file.write_bytes(b"1")
    first = start_key(model, config)
    assert start_key(model, config) == first
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    again = start_key(model, config)
    file.write_bytes(b"12")
    assert len({first, again, start_key(model, config)}) == 3


def test_a_warm_up_that_cannot_read_its_images_is_no_error_of_the_cache(tmp_path: Path):
    class Unreadable(Images):
        def epoch(self, epoch: int):
            raise OSError("too many open files")

    config = trial([0.6, 0.3])
    with pytest.raises(OSError, match="too many open files"):
        start_selectors(build_model(config), Unreadable(), config, cache=tmp_path, workers=WorkerGroup.single())


def test_damaged_start_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = trial([0.6, 0.3])
    good = start(config, tmp_path)[0]
    file = next(tmp_path.glob(f"*/{FILE}"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    again = start(config, tmp_path)[0]
    assert "is damaged" in caplog.text
    assert all(torch.equal(good[name], again[name]) for name in good)
    assert load_file(file)


def test_a_start_that_the_system_refuses_is_a_storage_error(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(StorageError, match="Cannot keep the selectors' start"):
            start(trial([0.6, 0.3]), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("**/*.safetensors"))
