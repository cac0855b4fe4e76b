import io
import json
import re
from pathlib import Path

import pytest
import tabulated

from search.event_stream import Event, EventStream, event_line
from search.records import Rejection
from search.selection import front_trials
from search.study import read_study
from search.summary import study_hypervolume

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """What a search of tabulated trials told, and its study as it was kept."""
    directory = tmp_path_factory.mktemp("runs")
    stream = io.StringIO()
    config = tabulated.experiment(directory, num_trials=12, sampler="random", warm_starts=False, widen=False)
    latency = config.latency.model_copy(update={"max_latency_share": 0.5})  # so that there is something to reject
    config = config.model_copy(update={"latency": latency})
    driver = tabulated.make_driver(config, listeners=(EventStream(stream),))
    tabulated.run(driver)
    driver.finish()
    return [json.loads(line) for line in stream.getvalue().splitlines()], read_study(directory / "toy")


def of_kind(events, kind):
    return [event for event in events if event["event"] == kind]


def test_every_trial_begins_trains_its_epochs_and_ends(searched):
    events, study = searched
    assert [e["trial"] for e in of_kind(events, "trial_start")] == [t.number for t in study.trials]
    for trial in study.trials:
        own = [e for e in events if e.get("trial") == trial.number]
        assert [e["event"] for e in own] == ["trial_start", *["epoch"] * trial.num_epochs, "trial_end"]
        assert [e["top1"] for e in own[1:-1]] == list(trial.curve)
        assert (own[-1]["state"], own[-1]["reason"]) == (trial.state, trial.reason)
        assert own[0]["latency_ms"] == trial.latency.mean_ms


def test_rejections_add_up_and_the_last_front_is_the_studys(searched):
    events, study = searched
    rejections = of_kind(events, "rejection")
    assert rejections[-1]["total"] == {reason: study.rejections.get(reason, 0) for reason in Rejection}
    for reason in Rejection:
        assert sum(event["new"][reason] for event in rejections) == study.rejections.get(reason, 0)
    last = of_kind(events, "front")[-1]
    assert [point["trial"] for point in last["points"]] == [trial.number for trial in front_trials(study)]
    assert last["hypervolume"] == pytest.approx(study_hypervolume(study))


def test_it_begins_and_ends_and_the_page_documents_every_key(searched):
    events, study = searched
    assert (events[0]["event"], events[-1]["event"]) == ("study_start", "study_end")
    assert events[-1]["end"]["cause"] == study.end.cause
    assert study.num_val_images == 100  # as every report of a tabulated trial says
    assert {e["event"] for e in events} | {Event.RESULT} == set(Event)
    page = PAGE.read_text(encoding="utf-8")
    for event in events:
        row = re.search(rf"^\| `{event['event']}` \|.*$", page, re.MULTILINE).group()
        assert set(event) - {"event", "time"} <= set(re.findall(r"`([a-z_0-9]+)`", row)), event["event"]


def test_a_resumed_search_tells_the_front_that_there_was(searched, tmp_path):
    _, study = searched
    stream = io.StringIO()
    EventStream(stream).on_study_start(study)
    begin, front = (json.loads(line) for line in stream.getvalue().splitlines())
    assert begin["num_ended"] == 12
    assert front["event"] == "front"


def test_a_reader_that_went_away_does_not_disturb(study):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    view = EventStream(Gone())
    view.on_study_start(study)
    view.on_trial_end(study.trials[1])
    closed = io.StringIO()
    closed.close()
    EventStream(closed).on_study_end(study)


def test_what_json_has_no_number_for_is_null():
    assert json.loads(event_line(Event.EPOCH, {"top1": float("nan")}, now_s=1.0))["top1"] is None
