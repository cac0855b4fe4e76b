import json
import stat
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tabulated

from search.checkpoint_store import CheckpointStore
from search.continuation_files import seed_published_trial
from search.experiment import validate
from search.published_trials import PublishedTrials, bring_checkpoint, published, scratch_directory, study_url
from search.ray_border import TrialTask
from spvit.errors import CheckpointError, ConfigError
from trainers.build import identity_of
from trainers.checkpoint_names import checkpoint_name, checkpoints_in
from trainers.config import StartWeights, TrialConfig
from trainers.metrics import EpochMetrics, Evaluation
from trainers.safe_folder import write_folder


class _Trial:
    """Counts epochs in its checkpoints."""

    def __init__(self, config, directory):
        self.directory, self.is_done = directory, False
        self.epoch = max((step for step, _ in checkpoints_in(directory)), default=0)
        self.history = ()

    def run_epoch(self):
        self.epoch += 1
        write_folder(self.directory / checkpoint_name(self.epoch), {"epoch": partial(Path.write_text, data="x")})
        return EpochMetrics(
            epoch=self.epoch, evaluation=Evaluation(top1=1.0, top5=2.0, loss=1.0, num_images=1), loss_terms={}
        )


CONFIG = TrialConfig(model={"name": "toy"}, data={"path": "nowhere"})


@pytest.fixture
def trials(tmp_path):
    return PublishedTrials(url=str(tmp_path / "store"), factory=_Trial)


def test_a_reported_epoch_is_published_and_continued_on_another_machine(trials, tmp_path):
    first = trials(CONFIG, tmp_path / "a" / "7")
    assert first.run_epoch().epoch == 1
    assert trials(CONFIG, tmp_path / "b" / "7").epoch == 1


def test_an_epoch_that_was_not_published_is_trained_again(trials, tmp_path):
    lost = trials(CONFIG, tmp_path / "a" / "7")
    lost._trial.run_epoch()  # the machine is gone before it could publish
    assert trials(CONFIG, tmp_path / "a" / "7").epoch == 0


def test_folders_that_nobody_uses_are_removed_and_others_stay(trials, tmp_path):
    used = trials(CONFIG, tmp_path / "a" / "1")
    ended = trials(CONFIG, tmp_path / "a" / "2")
    (tmp_path / "a" / "shared").mkdir()
    del ended
    latest = trials(CONFIG, tmp_path / "a" / "3")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["1", "3", "shared"]
    assert (used.epoch, latest.epoch) == (0, 0)


class _Weights:
    """What an elastic trial leaves, published; and a trial that starts from it, on a machine that never saw it."""

    def __init__(self, tmp_path):
        far, near = tmp_path / "far" / "3", tmp_path / "near"
        far.mkdir(parents=True)
        write_folder(far / checkpoint_name(2), {"weights.safetensors": partial(Path.write_text, data="weights")})
        CheckpointStore(str(tmp_path / "store")).publish("3", far)
        self.path = far / checkpoint_name(2) / "weights.safetensors"
        self.start = StartWeights.of(self.path)
        self.config = CONFIG.model_copy(update={"start": self.start})
        self.near = near


def test_weights_that_a_trial_starts_from_are_fetched_to_its_machine(tmp_path):
    weights, told = _Weights(tmp_path), []
    weights.path.unlink()

    def factory(config, directory):
        config.start.check()
        told.append(config.start)
        return _Trial(config, directory)

    PublishedTrials(url=str(tmp_path / "store"), factory=factory)(weights.config, weights.near / "5")
    assert told[0].path == weights.near / "3" / checkpoint_name(2) / "weights.safetensors"
    assert told[0].sha256 == weights.start.sha256
    assert identity_of(weights.config) == identity_of(weights.config.model_copy(update={"start": told[0]}))


def test_weights_stay_while_a_trial_is_built_from_them(tmp_path):
    """Another trial that begins on the machine meanwhile removes what nobody uses."""
    weights = _Weights(tmp_path)
    others = PublishedTrials(url=str(tmp_path / "store"), factory=_Trial)

    def factory(config, directory):
        others(CONFIG, weights.near / "6")
        config.start.check()
        return _Trial(config, directory)

    PublishedTrials(url=str(tmp_path / "store"), factory=factory)(weights.config, weights.near / "5")


def test_other_weights_than_those_a_trial_starts_from_are_refused(tmp_path):
    weights = _Weights(tmp_path)
    other = weights.config.model_copy(update={"start": weights.start.model_copy(update={"sha256": "0" * 64})})

    def factory(config, directory):
        config.start.check()

    with pytest.raises(CheckpointError, match="but its SHA-256 is"):
        PublishedTrials(url=str(tmp_path / "store"), factory=factory)(other, weights.near / "5")


def _experiment(tmp_path, **study):
    values = tabulated.experiment(tmp_path).model_dump(mode="json")
    return validate({**values, "study": values["study"] | study}, source="test")


def test_without_a_place_to_publish_trials_are_as_they_were(tmp_path):
    config = _experiment(tmp_path)
    assert published(config, _Trial) is _Trial
    assert scratch_directory(config) is None


def test_two_places_are_two_folders_of_a_machine(tmp_path):
    first = scratch_directory(_experiment(tmp_path, checkpoints="/a"))
    second = scratch_directory(_experiment(tmp_path, checkpoints="/b"))
    assert first != second
    assert str(first).startswith("~/.cache/spvit-search/toy-")


def test_the_home_is_that_of_the_machine_which_trains(tmp_path, monkeypatch):
    config = tabulated.experiment(tmp_path).fixed_trial(6)
    task = TrialTask(number=1, config=config, directory=Path("~/.cache/x"))
    sent = task.to_ray()
    monkeypatch.setenv("HOME", "/home/of/the/worker")
    assert TrialTask.from_ray(sent).directory == Path("/home/of/the/worker/.cache/x")
    assert "HOME" not in json.dumps(sent)


def test_a_trials_folder_is_its_owners(trials, tmp_path):
    directory = tmp_path / "a" / "7"
    directory.mkdir(parents=True, mode=0o755)
    trials(CONFIG, directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("place", ["published", "../x", "memory://x", "memory:x"])
def test_a_place_that_is_another_one_on_each_machine_is_refused(tmp_path, place):
    with pytest.raises(ConfigError, match="an absolute path or a URL that means the same on every machine"):
        _experiment(tmp_path, checkpoints=place)


def test_a_password_in_the_url_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a URL without user and password was required"):
        _experiment(tmp_path, checkpoints="s3://key:secret@bucket/x")


def test_whoever_reads_a_trial_gets_what_was_published(tmp_path, study):
    config = _experiment(tmp_path, checkpoints=str(tmp_path / "store"))
    PublishedTrials(url=study_url(config), factory=_Trial)(CONFIG, tmp_path / "elsewhere" / "4").run_epoch()
    bring_checkpoint(replace(study, experiment=config.model_dump(mode="json")), tmp_path / "trials" / "4")
    assert [step for step, _ in checkpoints_in(tmp_path / "trials" / "4")] == [1]


def test_a_study_that_publishes_nothing_is_read_as_it_is(tmp_path, study):
    config = _experiment(tmp_path)
    bring_checkpoint(replace(study, experiment=config.model_dump(mode="json")), tmp_path / "trials" / "4")
    assert not (tmp_path / "trials").exists()


def test_a_trial_that_prolongs_another_goes_on_from_what_that_one_published(trials, tmp_path, make_trial):
    shorter = trials(CONFIG, tmp_path / "a" / "3")
    shorter.run_epoch(), shorter.run_epoch()
    longer = make_trial(7, 80.0, 5.0, continues=3, config={"training": {"continues_epochs": 2}})
    seed_published_trial(trials.url, tmp_path / "study", longer)
    again = trials(CONFIG, tmp_path / "b" / "7")
    assert again.epoch == 2
    assert again.run_epoch().epoch == 3
    seed_published_trial(trials.url, tmp_path / "study", replace(longer, number=8, retry_of=7))  # it has begun
    assert trials(CONFIG, tmp_path / "c" / "7").epoch == 3
    assert trials(CONFIG, tmp_path / "c" / "3").epoch == 2


def test_what_a_study_kept_before_it_published_is_published_when_it_is_needed(trials, tmp_path, make_trial):
    for number, epochs in ((3, 2), (4, 1), (9, 3)):
        (tmp_path / "study" / "trials" / str(number)).mkdir(parents=True)
        for epoch in range(1, epochs + 1):
            folder = tmp_path / "study" / "trials" / str(number) / checkpoint_name(epoch)
            write_folder(folder, {"epoch": partial(Path.write_text, data=f"{number}")})
    longer = make_trial(7, 80.0, 5.0, continues=3, config={"training": {"continues_epochs": 2}})
    seed_published_trial(trials.url, tmp_path / "study", longer)
    assert trials(CONFIG, tmp_path / "b" / "7").epoch == 2
    weights = tmp_path / "study" / "trials" / "9" / checkpoint_name(3) / "epoch"
    interrupted = make_trial(4, 80.0, 5.0, config={"start": {"path": str(weights), "sha256": "0"}})
    seed_published_trial(trials.url, tmp_path / "study", interrupted)
    assert trials(CONFIG, tmp_path / "b" / "4").epoch == 1
    assert CheckpointStore(trials.url).has("9")


def test_whoever_reads_a_trial_leaves_what_was_kept_before_anything_was_published(tmp_path, study):
    config = _experiment(tmp_path, checkpoints=str(tmp_path / "store"))
    folder = tmp_path / "trials" / "4"
    folder.mkdir(parents=True)
    write_folder(folder / checkpoint_name(1), {"epoch": partial(Path.write_text, data="x")})
    bring_checkpoint(replace(study, experiment=config.model_dump(mode="json")), folder)
    assert [step for step, _ in checkpoints_in(folder)] == [1]


def test_what_was_never_published_seeds_nothing(trials, tmp_path, make_trial):
    longer = make_trial(7, 80.0, 5.0, continues=3, config={"training": {"continues_epochs": 2}})
    seed_published_trial(trials.url, tmp_path / "study", longer)
    seed_published_trial(trials.url, tmp_path / "study", make_trial(8, 80.0, 5.0))
    assert trials(CONFIG, tmp_path / "b" / "7").epoch == 0
