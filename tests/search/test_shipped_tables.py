"""Tables that come with the package: used where they are for this very device and model, and nowhere else."""

from pathlib import Path

import pytest
from small_table import small_table

from latency_tables.device import DeviceFingerprint
from latency_tables.store import SHIPPED_TABLES, shipped_tables, table_path
from latency_tables.table import LatencyTable
from search.commands.shipped_text import shipped_documents, shipped_text
from search.config import ExperimentConfig
from search.drift_check import checked_table
from search.experiment import validate
from search.profiling import PAGE_FILE, PLOT_FILE
from search.shipped_tables import needed_shipped_table
from search.table_files import TABLE_FILE
from spvit.errors import LatencyTableError
from spvit.factory import create_backbone

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 5}


def experiment_for(**latency: object) -> ExperimentConfig:
    values = {
        "study": {"name": "tiny"},
        "model": {"name": NAME, "args": ARGS},
        "data": {"format": "npz", "path": "data"},
        "latency": {"batch_size": 4, **latency},
    }
    return validate(values, source="test")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LatencyTable:
    """A shipped table of a small model on this device."""
    table = small_table(create_backbone(NAME, args=ARGS), NAME)
    table.save(table_path(tmp_path / "shipped", table.key))
    monkeypatch.setattr("search.shipped_tables.SHIPPED_TABLES", tmp_path / "shipped")
    return table


def test_a_study_without_a_table_gets_the_shipped_one_and_is_told(shipped: LatencyTable, tmp_path: Path) -> None:
    found = checked_table(
        experiment_for(on_drift="warn"), tmp_path / "tiny", may_measure=False, progress=lambda _share, _text: None
    )
    assert found.table == shipped
    note, *_ = found.notes
    assert f"comes with spvit-search for {NAME} on {DeviceFingerprint.detect().id}" in note
    assert LatencyTable.load(tmp_path / "tiny" / TABLE_FILE) == shipped
    assert (tmp_path / "tiny" / PLOT_FILE).exists()
    assert (tmp_path / "tiny" / PAGE_FILE).exists()


@pytest.mark.usefixtures("shipped")
def test_where_the_device_drifted_and_that_is_refused_nothing_is_written(tmp_path: Path) -> None:
    experiment = experiment_for(on_drift="refuse", drift_tolerance=1e-6)
    with pytest.raises(LatencyTableError, match=r'It is refused, as latency\.on_drift = "refuse"'):
        checked_table(experiment, tmp_path / "tiny", may_measure=False, progress=lambda _share, _text: None)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(
    "latency", [{"batch_size": 8}, {"dtype": "bfloat16"}, {"num_threads": 2}, {"target": "other_device"}]
)
def test_it_is_not_used_for_anything_else(latency: dict[str, object], tmp_path: Path) -> None:
    assert needed_shipped_table(experiment_for(**latency), tmp_path / "tiny") is None
    assert not (tmp_path / "tiny").exists()


@pytest.mark.usefixtures("shipped")
def test_it_is_not_used_for_a_selector_that_it_does_not_price(tmp_path: Path) -> None:
    experiment = experiment_for()
    light = experiment.pruning.model_copy(update={"selector": "light"})
    assert needed_shipped_table(experiment.model_copy(update={"pruning": light}), tmp_path / "tiny") is None


@pytest.mark.usefixtures("shipped")
def test_a_studys_own_table_and_the_one_that_an_experiment_names_go_first(
    shipped: LatencyTable, tmp_path: Path
) -> None:
    own = shipped.rescaled(1.5)
    own.save(tmp_path / "tiny" / TABLE_FILE)
    assert needed_shipped_table(experiment_for(), tmp_path / "tiny") is None
    assert LatencyTable.load(tmp_path / "tiny" / TABLE_FILE) == own
    assert needed_shipped_table(experiment_for(table=str(tmp_path / "named.json")), tmp_path / "other") is None
    assert not (tmp_path / "other").exists()


def test_each_shipped_table_is_whole_named_by_its_key_and_says_its_error() -> None:
    tables = shipped_tables()
    assert sorted(table_path(SHIPPED_TABLES, table.key) for table in tables) == sorted(SHIPPED_TABLES.glob("*.json"))
    listed = (SHIPPED_TABLES / "README.md").read_text(encoding="utf-8")
    for table in tables:
        key, check = table.key, table.end_to_end
        assert check.num_checked >= 12
        cells = (
            f"| {key.backbone} | {key.batch_size} | {key.dtype} | {key.runtime} | {key.num_threads} | {key.device_id} |"
        )
        (line,) = [text for text in listed.splitlines() if text.startswith(cells)]
        assert line.endswith(f"| {check.p90_error_percent:.1f} | {check.max_error_percent:.1f} |")


def test_the_list_marks_this_device(shipped: LatencyTable) -> None:
    (document,) = shipped_documents([shipped], shipped.key.device_id)
    assert document["is_this_device"]
    text = shipped_text([document], shipped.key.device_id)
    assert NAME in text
    assert f"1 of them are for this device, {shipped.key.device_id}" in text
    assert "0 of them are for this device, other" in shipped_text(shipped_documents([shipped], "other"), "other")
    assert "profile EXPERIMENT" in shipped_text([], "other")
