"""The recorded study that comes with the project is what its experiment file makes, and can be searched."""

import tomllib
from pathlib import Path

import pytest

from search.elastic_search_config import SearchMode
from search.experiment import load_experiment, validate
from search.recorded import RecordedStudy
from search.records import TrialState
from search.search_config import PrunerName, SamplerName
from search.simulation import Replay
from trainers.safe_folder import file_hash

FOLDER = Path(__file__).parents[2] / "experiments" / "recorded"


@pytest.fixture(scope="module")
def recorded() -> RecordedStudy:
    return RecordedStudy.load(FOLDER / "fashion_mnist.parquet")


def test_it_is_of_the_experiment_beside_it(recorded: RecordedStudy) -> None:
    kept = validate(tomllib.loads(recorded.experiment), source="recorded")
    # It was recorded before searches had modes, when each trial trained one schedule: the default is another by now.
    kept = kept.model_copy(update={"search": kept.search.model_copy(update={"mode": SearchMode.SCHEDULE})})
    beside = load_experiment(FOLDER / "fashion_mnist.toml")
    for section in ("pruning", "losses", "training", "search", "latency"):
        assert getattr(kept, section) == getattr(beside, section)
    assert (FOLDER / kept.data.path).resolve() == beside.data.path.resolve()
    assert len(recorded.trials) >= 150
    assert recorded.epochs >= 12


def test_it_is_of_the_weights_and_data_in_the_project(recorded: RecordedStudy) -> None:
    folder = FOLDER.parent / "fashion_mnist"
    for name in ("backbone.safetensors", "train.npz", "val.npz"):
        assert recorded.provenance[f"{name}_sha256"] == file_hash(folder / name)


def test_its_configurations_differ_and_the_best_first_epoch_is_not_the_best_last(recorded: RecordedStudy) -> None:
    assert len({tuple(sorted(trial.params.items())) for trial in recorded.trials}) == len(recorded.trials)
    first = max(recorded.trials, key=lambda trial: trial.curve[0])
    last = max(recorded.trials, key=lambda trial: trial.curve[-1])
    assert first.number != last.number


def test_whole_searches_are_replayed_on_it(recorded: RecordedStudy) -> None:
    replay = Replay(recorded)
    full = replay.search(sampler=SamplerName.RANDOM, pruner=PrunerName.NONE, seed=0, num_workers=4)
    assert full.num_epochs == recorded.epochs * replay.num_recorded
    pruned = replay.search(sampler=SamplerName.RANDOM, pruner=PrunerName.MEDIAN, seed=0, num_workers=4)
    assert pruned.num_epochs < full.num_epochs
    assert any(trial.state is TrialState.PRUNED and trial.reason for trial in pruned.trials)
