"""Recorded studies as values and as files: what is written is read back, anything else is refused by name."""

import json
from dataclasses import replace

import elastic_study
import finished_study
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tabulated
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_study import recorded_study

from search.cli import run
from search.recorded import RecordedStudy
from search.recording import record_study
from search.records import Latency, TrialState
from search.study import read_study
from spvit.errors import ExitCode, StorageError, UsageError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return recorded_study(tmp_path_factory.mktemp("recorded"), num_trials=3)


@pytest.fixture
def saved(small, tmp_path):
    path = tmp_path / "recorded.parquet"
    small.save(path)
    return path


def test_what_is_written_is_read_back(small, saved):
    assert RecordedStudy.load(saved) == small
    assert not list(saved.parent.glob("*.tmp"))


finite = st.floats(min_value=1e-6, max_value=1e6)


latencies = st.lists(finite, min_size=3, max_size=3).map(sorted)
changes = st.fixed_dictionaries(
    {
        "params": st.dictionaries(
            st.text(max_size=5), st.one_of(finite, st.integers(), st.booleans(), st.text(max_size=5)), min_size=1
        ),
        "curve": st.lists(st.floats(min_value=0.0, max_value=100.0), min_size=4, max_size=4).map(tuple),
        "epoch_s": st.lists(finite, min_size=4, max_size=4).map(tuple),
        "latency": latencies.map(lambda ms: Latency(low_ms=ms[0], mean_ms=ms[1], high_ms=ms[2])),
    }
)


@settings(max_examples=15, deadline=None)
@given(values=changes)
def test_any_trial_survives_its_file_to_the_bit(small, tmp_path_factory, values):
    changed = replace(small.trials[1], **values)
    study = replace(small, trials=(small.trials[0], changed, small.trials[2]))
    path = tmp_path_factory.mktemp("trip") / "recorded.parquet"
    study.save(path)
    assert RecordedStudy.load(path) == study


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"params": {}}, "parameters were required"),
        ({"curve": (50.0,)}, "same epochs"),
        ({"curve": (50.0, 60.0, float("nan"), 61.0)}, "0 to 100 percent"),
        ({"epoch_s": (1.0, 1.0, 0.0, 1.0)}, "above 0"),
        ({"latency": Latency(mean_ms=1.0, low_ms=2.0, high_ms=3.0)}, "low <= mean <= high"),
    ],
)
def test_what_cannot_be_a_trial_is_refused(small, changes, text):
    with pytest.raises(ValueError, match=text):
        replace(small.trials[0], **changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (lambda study: {"trials": ()}, "one trial at least"),
        (lambda study: {"trials": study.trials[::-1]}, "in the order"),
        (lambda study: {"epochs": 5}, "5 epochs were required, but got 4"),
        (lambda study: {"dense_ms": 0.0}, "above 0 ms"),
    ],
)
def test_trials_that_do_not_belong_together_are_refused(small, changes, text):
    with pytest.raises(ValueError, match=text):
        replace(small, **changes(small))


def _with_metadata(path, **changes):
    table = pq.read_table(path)
    metadata = {**table.schema.metadata, **{key.encode(): json.dumps(value).encode() for key, value in changes.items()}}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def _with_column(path, name, values):
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, pa.array(values)), path)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda path: path.write_bytes(b"no table"), "not a usable recorded study"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "not a usable recorded study"),
        (lambda path: pq.write_table(pa.table({"a": [1]}), path), "but not a recorded study"),
        (lambda path: _with_metadata(path, format="cars"), "but not a recorded study"),
        (lambda path: _with_metadata(path, version=9), "version 1 of the format was required, but it is version 9"),
        (lambda path: _with_metadata(path, geometry={"depth": 6}), "num_patches"),
        (lambda path: _with_metadata(path, epochs=7), "7 epochs were required"),
        (lambda path: _with_column(path, "config", ["{", "{", "{"]), "JSONDecodeError"),
        (lambda path: _with_column(path, "params", ["[1]"] * 3), "a JSON object was required"),
        (lambda path: _with_column(path, "curve", [None] * 3), "TypeError"),
    ],
)
def test_damaged_and_foreign_files_are_refused_in_words(saved, damage, text, capsys):
    damage(saved)
    with pytest.raises(StorageError, match=text):
        RecordedStudy.load(saved)
    assert run(["simulate", "--on", str(saved)]) == ExitCode.STORAGE
    assert "record STUDY" in capsys.readouterr().err


def test_a_table_that_is_not_there_names_what_makes_one(tmp_path):
    with pytest.raises(UsageError, match=r"`spvit-search record STUDY` writes one"):
        RecordedStudy.load(tmp_path / "none.parquet")


@pytest.fixture
def finished(tmp_path):
    """A study on disk, with a baseline and a trial that was stopped."""
    table = finished_study.table()
    folder = finished_study.make_study(finished_study.experiment(tmp_path), table)
    table.save(folder / "latency_table.json")
    return folder


def test_a_study_is_recorded_as_it_was_trained(finished):
    study = read_study(finished)
    recorded = record_study(finished, finished / "recorded.parquet")
    complete = [trial for trial in study.trials if trial.state is TrialState.COMPLETE and trial.params]
    assert [trial.number for trial in recorded.trials] == [trial.number for trial in complete]
    for ours, trial in zip(recorded.trials, complete, strict=True):
        assert (ours.params, ours.latency, ours.curve) == (trial.params, trial.latency, trial.curve)
        assert len(ours.epoch_s) == study.num_epochs
    assert recorded.provenance["latency_table_sha256"] == study.table_sha256
    assert str(finished.parent) not in recorded.experiment


def test_recording_by_command_writes_a_table_that_can_be_replayed(finished, capsys):
    arguments = ["--runs-dir", str(finished.parent), "--json"]
    assert run(["record", "small", *arguments]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["num_recorded"] == len(RecordedStudy.load(finished / "recorded.parquet").trials)
    assert run(["simulate", "--on", document["file"], "--sampler", "random", "--seeds", "2", "--json"]) == ExitCode.OK
    assert len(json.loads(capsys.readouterr().out)["arms"]) == 1


def test_a_study_without_a_whole_training_is_not_recorded(tmp_path):
    tabulated.make_store(tabulated.experiment(tmp_path))
    finished_study.table().save(tmp_path / "toy" / "latency_table.json")
    with pytest.raises(UsageError, match="no trial yet that was trained to the end"):
        record_study(tmp_path / "toy", tmp_path / "recorded.parquet")


def test_a_study_with_elastic_trials_is_refused_by_name(tmp_path):
    config = elastic_study.experiment(tmp_path, num_trials=2)
    elastic_study.run(config).finish()
    with pytest.raises(UsageError, match=r"'toy' has elastic trials \(trial 0 .*search\.mode = \"schedule\""):
        record_study(tmp_path / "toy", tmp_path / "recorded.parquet")
