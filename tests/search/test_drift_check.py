"""A device that is no longer as fast as its table says, really measured on a tiny model."""

from dataclasses import replace

import pytest

from latency_tables.measure import Effort, measure_table
from latency_tables.predict import predict_dense
from latency_tables.provenance import Provenance
from latency_tables.table import LatencyTable
from search.drift_check import checked_table
from search.experiment import validate
from search.profiling import measure_study_table
from search.study_files import OUTCOMES_FILE, PROGRESSIVE_FOLDER, STUDY_FILE
from search.table_files import RESCALED_FILE, TABLE_FILE, keep_rescaled, required_table, table_file
from spvit.errors import LatencyTableError, UsageError
from spvit.factory import create_backbone

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 48, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 5}


@pytest.fixture(scope="module")
def measured() -> LatencyTable:
    """Measured roughly, but without what it would be warned of on a busy machine."""
    effort = Effort(num_part_rounds=5, num_model_rounds=3)
    table = measure_table(create_backbone(NAME, args=ARGS), name=NAME, batch_size=8, effort=effort)
    errors = {f"{kind}_error_percent": 2.0 for kind in ("median", "p90", "max")}
    quiet = {"load_average": 0.0, "reference_spread_percent": 5.0, "num_rows": None, "num_precise_rows": None}
    return replace(
        table,
        conditions=replace(table.conditions, **quiet),
        end_to_end=replace(table.end_to_end, **errors),
    )


@pytest.fixture
def drifted(measured):
    """A table of this device when it took three times as long."""
    return replace(measured.rescaled(3.0), provenance=Provenance())


def experiment_for(path, **latency):
    values = {
        "study": {"name": "tiny"},
        "model": {"name": NAME, "args": ARGS},
        "data": {"format": "npz", "path": "data"},
        "latency": {"batch_size": 8, **({"table": str(path)} if path else {}), **latency},
    }
    return validate(values, source="test")


@pytest.fixture
def checked(drifted, tmp_path):
    """The drifted table, checked for a study with such settings of `[latency]`."""
    drifted.save(tmp_path / "drifted.json")

    def check(**latency):
        told = []
        experiment = experiment_for(tmp_path / "drifted.json", **latency)
        found = checked_table(
            experiment, tmp_path / "tiny", may_measure=False, progress=lambda _share, text: told.append(text)
        )
        return found, told

    return check


def test_a_drifted_table_is_rescaled_with_a_warning(checked, drifted, tmp_path):
    found, told = checked()
    assert 0.1 < found.table.provenance.rescaled_by < 0.8
    assert found.table == drifted.rescaled(found.table.provenance.rescaled_by)
    (note,) = found.notes
    assert note.startswith("This device now takes 0.")
    assert "so that a budget in milliseconds is kept" in note
    assert told == ["three points of the latency table again, to see whether they still hold"]
    assert not (tmp_path / "tiny").exists()  # nothing is written before a search begins


def test_by_policy_a_drifted_table_is_warned_of_or_refused(checked, drifted):
    found, _ = checked(on_drift="warn")
    assert found.table == drifted
    assert "times as long as its latency table says" in found.notes[0]
    with pytest.raises(LatencyTableError, match=r'This device now takes 0\.\d+ times .*latency.on_drift = "refuse"'):
        checked(on_drift="refuse")


def test_within_the_tolerance_nothing_is_done(checked, drifted):
    found, _ = checked(drift_tolerance=0.97)
    assert (found.table, found.notes) == (drifted, ())


@pytest.mark.parametrize("file", [STUDY_FILE, f"{PROGRESSIVE_FOLDER}/{OUTCOMES_FILE}"])
def test_what_was_priced_already_keeps_its_prices(checked, drifted, tmp_path, file):
    (tmp_path / "tiny" / file).parent.mkdir(parents=True)
    (tmp_path / "tiny" / file).write_text("{}")
    found, _ = checked()
    assert found.table == drifted
    assert "What was priced already keeps its prices" in found.notes[0]


@pytest.mark.parametrize("file", [STUDY_FILE, f"{PROGRESSIVE_FOLDER}/{OUTCOMES_FILE}"])
def test_what_was_priced_already_gets_no_other_table(measured, tmp_path, file):
    (tmp_path / "tiny" / file).parent.mkdir(parents=True)
    (tmp_path / "tiny" / file).write_text("{}")
    with pytest.raises(LatencyTableError, match=r"latency_table.json, is gone. Put it back"):
        required_table(None, tmp_path / "tiny", may_measure=True)
    measured.save(tmp_path / "tiny" / TABLE_FILE)
    with pytest.raises(UsageError, match="was priced with its latency table, so that cannot be measured anew"):
        measure_study_table(experiment_for(None), tmp_path / "tiny", progress=lambda _share, _text: None)


def test_another_devices_table_is_accepted_on_purpose_and_said_to_be_unchecked(drifted, tmp_path):
    board = replace(drifted.device, cpu_model="Board 7")
    replace(drifted, device=board).save(tmp_path / "board.json")
    told = []
    with pytest.raises(LatencyTableError, match=r"device.cpu_model is 'Board 7' .* latency.target = \"other_device\""):
        checked_table(
            experiment_for(tmp_path / "board.json"),
            tmp_path,
            may_measure=False,
            progress=lambda *report: told.append(report),
        )
    experiment = experiment_for(tmp_path / "board.json", target="other_device", on_drift="refuse")
    found = checked_table(experiment, tmp_path, may_measure=False, progress=lambda *report: told.append(report))
    assert found.table.device == board
    assert f"Latencies are those of {board.id}, not of this machine" in found.notes[0]
    assert told == []


def test_a_new_measurement_is_not_measured_again(tmp_path):
    small = {"args": {**ARGS, "img_size": 16, "depth": 2}, "name": NAME}
    values = experiment_for(tmp_path, on_drift="refuse", drift_tolerance=1e-6, time_limit_s=1.0).model_dump()
    experiment = validate(values | {"model": small, "latency": values["latency"] | {"table": None}}, source="test")
    told = []
    checked_table(experiment, tmp_path, may_measure=True, progress=lambda _share, text: told.append(text))
    stages = ("preparing ", "measuring parts", "checking complete models")
    assert told
    assert all(text.startswith(stages) for text in told)
    assert (tmp_path / TABLE_FILE).exists()


def test_a_rescaled_table_prices_whatever_goes_on_with_it(drifted, tmp_path):
    given, folder = tmp_path / "given.json", tmp_path / "tiny"
    drifted.save(given)
    rescaled = drifted.rescaled(0.5)
    keep_rescaled(rescaled, folder)
    assert table_file(given, folder) == given  # nothing was priced by it yet
    (folder / STUDY_FILE).write_text("{}")
    assert table_file(given, folder) == folder / RESCALED_FILE
    assert LatencyTable.load(folder / RESCALED_FILE) == rescaled
    assert predict_dense(rescaled).mean_ms == pytest.approx(0.5 * predict_dense(drifted).mean_ms)
    keep_rescaled(drifted.rescaled(0.7), folder)
    assert LatencyTable.load(folder / RESCALED_FILE) == rescaled
    given.unlink()
    assert table_file(given, folder) == folder / RESCALED_FILE


def test_another_table_given_to_a_rescaled_study_is_not_passed_over(measured, drifted, tmp_path):
    given, folder = tmp_path / "given.json", tmp_path / "tiny"
    keep_rescaled(drifted.rescaled(0.5), folder)
    (folder / STUDY_FILE).write_text("{}")
    measured.save(given)
    assert table_file(given, folder) == given


def test_a_copy_of_a_search_that_never_began_is_removed(drifted, tmp_path):
    keep_rescaled(drifted.rescaled(0.5), tmp_path)
    keep_rescaled(drifted, tmp_path)
    assert not (tmp_path / RESCALED_FILE).exists()
