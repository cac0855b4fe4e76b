"""A search that will not fit is refused before it begins; a disk that fills up or turns read-only loses nothing."""

import gc

import pytest
import small_disk
import tabulated
import torch

from search.disk_space import MIB, RESERVE_BYTES, SpaceNeeded, require_space, space_needed
from search.driver import ReportKey
from search.failures import Failure, failure_of
from search.listener import StudyListener
from search.records import EndCause
from search.study import read_study
from search.study_files import trial_directory
from spvit.errors import StorageError
from spvit.schedule import PruningSchedule
from trainers.build import build_model
from trainers.checkpoint import latest_checkpoint, save_checkpoint
from trainers.checkpoint_size import checkpoint_bytes
from trainers.config import ModelConfig, PruningConfig, TrainingConfig, TrialConfig
from trainers.data_config import DataConfig
from trainers.optim import make_optimizer

ARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 10}


def test_needs_are_checkpoints_of_running_and_kept_trials_and_a_reserve(tmp_path):
    config = tabulated.experiment(tmp_path, num_trials=40, num_concurrent=3)
    needed = space_needed(config, 10 * MIB)
    assert (needed.num_running, needed.num_kept) == (9, 41)
    assert needed.num_bytes == 500 * MIB + RESERVE_BYTES
    assert space_needed(config, 10 * MIB, num_done=39).num_bytes == 40 * MIB + RESERVE_BYTES
    front = tabulated.experiment(tmp_path, num_trials=40, num_concurrent=3, keep_checkpoints="front")
    assert space_needed(front, 10 * MIB).num_kept == 17


def test_what_elastic_trials_keep_is_needed_until_they_are_done(tmp_path):
    search = {"num_trials": 40, "num_concurrent": 3, "elastic": {"num_trials": 5}, "keep_checkpoints": "none"}
    config = tabulated.experiment(tmp_path, mode="auto", **search)
    assert space_needed(config, MIB).num_kept == 16 + 5 + 1
    assert space_needed(config, MIB, num_elastic_done=5).num_kept == 16 + 1
    assert space_needed(config, MIB, num_done=30, num_elastic_done=5).num_kept == 10
    alone = tabulated.experiment(tmp_path, mode="elastic", **search)
    needed = space_needed(alone, MIB)
    assert (needed.num_running, needed.num_kept) == (9, 5 + 1)
    assert space_needed(alone, MIB, num_elastic_done=5).num_bytes == RESERVE_BYTES


def test_published_checkpoints_need_no_room_here_but_for_the_weights_that_schedules_start_from(tmp_path):
    for mode, num_kept in (("schedule", 0), ("auto", 1)):
        config = tabulated.experiment(tmp_path, num_trials=40, num_concurrent=3, mode=mode)
        study = config.study.model_copy(update={"checkpoints": "s3://bucket/folder"})
        needed = space_needed(config.model_copy(update={"study": study}), MIB)
        assert (needed.num_running, needed.num_kept) == (0, num_kept)


def test_too_little_space_is_refused_with_what_is_needed_and_what_is_there(tmp_path):
    require_space(SpaceNeeded(checkpoint_bytes=1000, num_running=6, num_kept=4), tmp_path / "not" / "yet")
    needed = SpaceNeeded(checkpoint_bytes=1 << 50, num_running=6, num_kept=4)
    with pytest.raises(StorageError, match=r"the search needs 10,737,418,304 MiB .*, but [\d,]+ MiB are free.*clean"):
        require_space(needed, tmp_path / "not" / "yet")


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_checkpoint_is_as_large_as_was_said(tmp_path, ema_decay):
    config = TrialConfig(
        model=ModelConfig(name="vit_tiny_patch16_224", args=ARGS),
        data=DataConfig(path=tmp_path),
        pruning=PruningConfig(schedule=PruningSchedule.from_base_rate(0.7, (1, 2, 3))),
        training=TrainingConfig(ema_decay=ema_decay, freeze_epochs=0),
    )
    model = build_model(config)
    optimizer = make_optimizer(model, config.training)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    weights = model.state_dict()
    saved = save_checkpoint(
        tmp_path,
        1,
        weights=weights,
        training_weights=None if ema_decay is None else weights,
        optimizer=optimizer.state_dict(),
        meta={},
    )
    num_bytes = sum(path.stat().st_size for path in saved.iterdir())
    assert checkpoint_bytes(config) == pytest.approx(num_bytes, rel=0.15)


class Workers:
    """Trials that keep real checkpoints of a given size on the study's disk, and report as workers do."""

    def __init__(self, study_folder, num_bytes):
        self.folder, self.weights = study_folder, {"w": torch.ones(num_bytes // 4)}

    def report(self, trial, epoch):
        try:
            save_checkpoint(trial_directory(self.folder, trial), epoch, weights=self.weights, optimizer={}, meta={})
        except Exception as error:
            return {ReportKey.FAILURE: failure_of(error).value, ReportKey.REASON: str(error)}
        return tabulated.metrics(epoch, tabulated.top1(trial, epoch))


class Witness(StudyListener):
    """What the study said it had written."""

    def __init__(self):
        self.curves = {}

    def on_epoch(self, trial, metrics):
        self.curves[trial.number] = trial.curve


def _check_nothing_lost(folder, witness):
    stored = read_study(folder).trials
    assert {number: stored[number].curve[: len(curve)] for number, curve in witness.curves.items()} == witness.curves


@small_disk.needs_root
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_checkpoints_that_cannot_be_written_end_the_search_once_and_it_goes_on_later(tmp_path, fault):
    config = tabulated.experiment(tmp_path, sampler="random")
    with small_disk.small_disk(tmp_path / "toy" / "trials", (5 if fault == "full" else 64) * MIB) as disk:
        workers, witness = Workers(tmp_path / "toy", 256 * 1024), Witness()

        def report(trial, epoch):
            if fault == "read-only" and sum(map(len, witness.curves.values())) == 14:
                small_disk.remount(disk, "ro")
            return workers.report(trial, epoch)

        driver = tabulated.make_driver(config, listeners=[witness])
        tabulated.run(driver, report=report)
        driver.finish()
        words = "No space left on device" if fault == "full" else "Read-only file system"
        with pytest.raises(StorageError, match=f"{words}.*spvit-search resume toy"):
            raise driver.error
        before = read_study(tmp_path / "toy")
        assert before.finished
        assert {trial.failure for trial in before.trials} <= {None, Failure.STORAGE, Failure.INTERRUPTED}
        assert sum(trial.failure is Failure.STORAGE for trial in before.trials) == 1
        assert before.end.cause is EndCause.ERROR
        _check_nothing_lost(tmp_path / "toy", witness)
        small_disk.remount(disk, f"rw,size={64 * MIB}")
        again = tabulated.make_driver(config)
        tabulated.run(again, report=workers.report)
        after = read_study(tmp_path / "toy")
        assert again.is_finished
        assert after.trials[: len(before.trials)] == before.trials
        assert all(latest_checkpoint(trial_directory(tmp_path / "toy", t)).step == 4 for t in after.finished)


@small_disk.needs_root
def test_a_study_whose_own_disk_fills_up_keeps_all_that_it_said_it_had_written(tmp_path):
    config = tabulated.experiment(tmp_path, num_trials=60, sampler="random")
    with small_disk.small_disk(tmp_path / "toy", 8 * MIB) as disk:
        witness = Witness()

        def report(trial, epoch):
            if sum(map(len, witness.curves.values())) == 14:
                small_disk.fill(disk)
            return tabulated.metrics(epoch, tabulated.top1(trial, epoch))

        driver = tabulated.make_driver(config, listeners=[witness])
        tabulated.run(driver, report=report)
        assert isinstance(driver.error, StorageError)
        with pytest.raises(StorageError, match="spvit-search resume toy"):
            driver.finish()
        (disk / "ballast").unlink()
        _check_nothing_lost(disk, witness)
        again = tabulated.make_driver(config)
        tabulated.run(again, max_reports=10)
        _check_nothing_lost(disk, witness)
        assert not again.error


@small_disk.needs_root
def test_a_study_on_a_read_only_disk_is_refused_and_can_be_read(tmp_path):
    config = tabulated.experiment(tmp_path, num_trials=1, sampler="random")
    with small_disk.small_disk(tmp_path / "toy", 8 * MIB) as disk:
        tabulated.make_store(config).close()
        before = read_study(disk)
        gc.collect()  # closes the file, without which the disk would be busy
        small_disk.remount(disk, "ro")
        with pytest.raises(StorageError, match="make the folder writable"):
            tabulated.make_store(config)
        assert read_study(disk) == before
