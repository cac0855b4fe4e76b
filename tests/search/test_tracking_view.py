import json
from dataclasses import replace

from search.tracking_view import experiment_fragment, study_view, where_to_look

MAX_TAG_LENGTH = 8_000


def state_of(study):
    ((key, value),) = study_view(study).items()
    view = json.loads(value)
    assert key == "mlflow.sharedViewState.spvit"
    assert {"name", "createdAt", "updatedAt", "state"} == view.keys()
    assert isinstance(view["createdAt"], int)  # with a text the page ignores the view without a word
    return json.loads(view["state"])


def test_every_chart_is_in_a_section_that_there_is(study):
    state = state_of(study)
    sections = {section["uuid"] for section in state["compareRunSections"]}
    charts = state["compareRunCharts"]
    assert {chart["metricSectionId"] for chart in charts} == sections
    assert len({chart["uuid"] for chart in charts}) == len(charts)


def test_the_front_and_the_keep_rates_are_shown_for_all_runs(study):
    state = state_of(study)
    charts = {chart["type"]: chart for chart in state["compareRunCharts"]}
    assert (charts["SCATTER"]["xaxis"]["key"], charts["SCATTER"]["yaxis"]["key"]) == ("latency_ms", "top1")
    assert charts["PARALLEL"]["selectedParams"] == ["keep1", "keep2"]
    assert state["runsHiddenMode"] == "SHOW_ALL"


def test_the_view_is_the_same_each_time_and_fits_into_a_tag(study):
    many = replace(study, experiment={"pruning": {"blocks": list(range(12))}})
    assert study_view(many) == study_view(many)
    assert len(study_view(many)["mlflow.sharedViewState.spvit"]) < MAX_TAG_LENGTH


def test_a_server_is_named_by_its_page_and_a_file_by_the_command(tmp_path):
    at_server = where_to_look(tmp_path / "demo", "https://me:canary@mlflow.example:5000/", "7")
    assert at_server == f"browse the study at https://mlflow.example:5000/{experiment_fragment('7')}"
    in_file = where_to_look(tmp_path / "demo", "sqlite:////x/mlflow.db", "7")
    assert in_file == f"browse the study with `spvit-search dashboard demo --runs-dir {tmp_path}`"
