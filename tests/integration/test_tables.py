"""Searches by a table that no longer holds, and by one of another device, from the command line to the export."""

import json
from dataclasses import replace

import pytest
from command_line import call, call_here, write_experiment

from latency_tables.measure import Effort, measure_table
from latency_tables.provenance import Provenance
from latency_tables.table import LatencyTable
from search.experiment import load_experiment
from search.study import read_study
from search.table_files import RESCALED_FILE
from spvit.factory import create_backbone

pytestmark = pytest.mark.integration
SHORT = (
    ("epochs = 3", "epochs = 1"),
    ("num_trials = 8", "num_trials = 1"),
    ("[5e-4, 100.0]", "[5e-4, 6e-4]"),
    ("max_latency_share = 0.6", "max_latency_share = 0.8"),
)
RATIOS = "keep_ratio,block_ms\n1.0,2.0\n0.9,1.8\n0.8,1.62\n0.7,1.4\n0.6,1.25\n0.5,1.05\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def test_a_search_on_a_device_that_drifted_goes_on_by_the_rescaled_table(folder):
    given = folder / "drifted.json"
    path = write_experiment(folder, "drifted", ("[latency]", f'[latency]\ntable = "{given}"'), *SHORT)
    model = load_experiment(path).model
    table = measure_table(
        create_backbone(model.name, args=model.args),
        name=model.name,
        batch_size=32,
        effort=Effort(num_part_rounds=5, num_model_rounds=3),
    )
    drifted = replace(table.rescaled(3.0), provenance=Provenance())
    drifted.save(given)

    told = call("launch", path)[1]
    assert "warning: This device now takes 0." in told
    assert "Until then its times are multiplied by 0." in told
    study, copy = (
        read_study(folder / "runs" / "drifted"),
        LatencyTable.load(folder / "runs" / "drifted" / RESCALED_FILE),
    )
    assert copy == drifted.rescaled(copy.provenance.rescaled_by)
    assert study.dense_latency.mean_ms == pytest.approx(copy.dense.median_ms)
    assert study.max_latency_ms == pytest.approx(0.8 * copy.dense.median_ms)

    # What goes on with the study is priced by the same numbers, whatever the device does by now.
    call_here("resume", "drifted", "--runs-dir", folder / "runs")
    assert LatencyTable.load(folder / "runs" / "drifted" / RESCALED_FILE) == copy
    assert read_study(folder / "runs" / "drifted").dense_latency == study.dense_latency


def test_a_search_for_another_device_claims_no_budget_to_be_kept_here(folder):
    (folder / "board.csv").write_text(RATIOS)
    path = write_experiment(folder, "board", ("[latency]", '[latency]\ntarget = "other_device"'), *SHORT)
    imported = call_here("table", "import", folder / "board.csv", path, "--device", "Board 7", "--json")
    device = json.loads(imported[0])["device"]
    told = call("launch", path, "--no-profile")[1]
    assert f"warning: Latencies are those of {device}, not of this machine" in told
    arguments = ("export", "board", "--runs-dir", folder / "runs", "--format", "safetensors", "--no-register", "--json")
    exported = json.loads(call_here(*arguments)[0])
    assert exported["verdict"] == "not measured on the target"
    assert exported["table_device"] == device
    assert exported["dense_ms"] == pytest.approx(12.36)
    evaluated = call_here("evaluate", exported["directory"])[0]
    assert "met" not in evaluated.split()
