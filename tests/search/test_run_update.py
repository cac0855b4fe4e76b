import json
import math

from hypothesis import given
from hypothesis import strategies as st

from search.run_update import MetricPoint, RunStatus, RunUpdate, finite_metrics, merge_by_run

POINTS = st.builds(MetricPoint, st.sampled_from(["top1", "lr"]), st.floats(0, 1), st.integers(0, 9), st.integers(0, 9))
TEXTS = st.dictionaries(st.sampled_from("abc"), st.text(max_size=3), max_size=3)
UPDATES = st.builds(
    RunUpdate,
    number=st.none() | st.integers(0, 3),
    name=st.text(max_size=3),
    start_ms=st.none() | st.integers(0, 9),
    params=TEXTS,
    metrics=st.lists(POINTS, max_size=3).map(tuple),
    tags=TEXTS,
    status=st.none() | st.sampled_from(RunStatus),
    end_ms=st.none() | st.integers(0, 9),
    artifacts=st.lists(st.sampled_from(["a.png", "b.md"]), max_size=2, unique=True).map(tuple),
    experiment_tags=TEXTS,
)


@given(UPDATES)
def test_update_survives_json(update):
    assert RunUpdate.from_dict(json.loads(json.dumps(update.to_dict()))) == update


@given(st.lists(UPDATES, max_size=8))
def test_merging_keeps_every_point_and_the_last_word(updates):
    merged = {u.number: u for u in merge_by_run(updates)}
    assert set(merged) == {u.number for u in updates}
    for number, result in merged.items():
        own = [u for u in updates if u.number == number]
        assert result.metrics == tuple(p for u in own for p in u.metrics)
        assert result.tags == {k: v for u in own for k, v in u.tags.items()}
        assert result.status == next((u.status for u in reversed(own) if u.status), None)


@given(st.lists(UPDATES, min_size=1, max_size=8))
def test_the_parent_comes_first(updates):
    numbers = [u.number for u in merge_by_run(updates)]
    assert None not in numbers[1:]


def test_numbers_that_mlflow_would_distort_become_tags():
    points, tags = finite_metrics({"top1": 81.5, "val_loss": math.inf, "lr": math.nan}, step=2, timestamp_ms=7)
    assert points == (MetricPoint("top1", 81.5, 2, 7),)
    assert tags == {"spvit.non_finite.val_loss": "inf at step 2", "spvit.non_finite.lr": "nan at step 2"}
