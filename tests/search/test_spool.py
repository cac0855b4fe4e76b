import resource
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.spool import Spool

EVENTS = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3), max_size=12)


@given(EVENTS, st.integers(1, 5), st.data())
def test_every_event_is_read_once_in_order_over_any_number_of_restarts(tmp_path_factory, events, limit, data):
    path = tmp_path_factory.mktemp("spool") / "tracking.jsonl"
    spool = Spool(path)
    for event in events:
        spool.append(event)
    seen = []
    while not spool.is_drained:
        batch, offset = spool.read(limit)
        seen += batch
        spool.acknowledge(offset)
        if data.draw(st.booleans()):
            spool = Spool(path)
    assert seen == events


def test_what_was_not_acknowledged_is_read_again(tmp_path):
    spool = Spool(tmp_path / "s.jsonl")
    spool.append({"n": 1})
    spool.acknowledge(spool.read()[1])
    spool.append({"n": 2})
    assert spool.read()[0] == [{"n": 2}]
    assert Spool(tmp_path / "s.jsonl").read()[0] == [{"n": 2}]


def test_half_a_line_costs_nothing_but_itself(tmp_path):
    path = tmp_path / "s.jsonl"
    Spool(path).append({"n": 1})
    with path.open("a") as file:
        file.write('{"n": 2')
    spool = Spool(path)
    spool.append({"n": 3})
    assert spool.read()[0] == [{"n": 1}, {"n": 3}]


def test_half_a_line_being_written_is_left_for_later(tmp_path):
    path = tmp_path / "s.jsonl"
    spool = Spool(path)
    spool.append({"n": 1})
    with path.open("a") as file:
        file.write('{"n": 2')
        file.flush()
        batch, offset = spool.read()
        file.write("}\n")
    spool.acknowledge(offset)
    assert batch == [{"n": 1}]
    assert spool.read()[0] == [{"n": 2}]


@pytest.mark.parametrize("offset", ["", "nonsense", "-3", "99999"])
def test_a_damaged_offset_delivers_again_rather_than_never(tmp_path, offset):
    path = tmp_path / "s.jsonl"
    Spool(path).append({"n": 1})
    (tmp_path / "s.jsonl.offset").write_text(offset)
    assert Spool(path).read()[0] == [{"n": 1}]


def test_numbers_that_json_has_not_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Spool(tmp_path / "s.jsonl").append({"loss": float("nan")})


def test_nothing_is_written_before_the_first_event(tmp_path):
    spool = Spool(tmp_path / "new" / "s.jsonl")
    assert (spool.read(), spool.is_drained) == (([], 0), True)
    assert list(tmp_path.iterdir()) == []
    spool.append({"n": 1})
    assert not spool.is_drained


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 5), st.data())
def test_what_a_driver_appends_behind_a_later_one_is_left_out_over_any_number_of_restarts(
    tmp_path_factory, drivers, limit, data
):
    path = tmp_path_factory.mktemp("spool") / "tracking.jsonl"
    for number, driver in enumerate(drivers):
        Spool(path, driver=driver).append({"n": number})
    spool, seen = Spool(path), []
    while not spool.is_drained:
        batch, offset = spool.read(limit)
        assert spool.read(limit) == (batch, offset)  # reading again before it is acknowledged changes nothing
        seen += batch
        spool.acknowledge(offset)
        if data.draw(st.booleans()):
            spool = Spool(path)
    in_time = [n for n, driver in enumerate(drivers) if not driver or driver >= max(drivers[:n], default=0)]
    assert seen == [{"n": number} for number in in_time]


def test_a_queue_ends_where_a_later_driver_goes_on(tmp_path, caplog):
    path = tmp_path / "s.jsonl"
    first, second = Spool(path, driver=1), Spool(path, driver=2)
    first.append({"n": 1})
    assert not first.is_taken_over
    second.append({"n": 2})
    first.append({"n": 3})
    assert first.read()[0] == [{"n": 1}]
    assert first.is_taken_over
    assert second.read()[0] == [{"n": 1}, {"n": 2}]
    assert not second.is_taken_over
    assert [record.message for record in caplog.records] == [
        f"{path}: what a driver wrote after it had been taken over from was left out"
    ]


def test_an_event_after_one_that_did_not_fit_stands_by_itself(tmp_path):
    path = tmp_path / "s.jsonl"
    spool = Spool(path)
    spool.append({"n": 1})
    with (
        file_size_limit(path.stat().st_size + 4),
        pytest.raises(OSError, match=r"s\.jsonl: an event was written in part"),
    ):
        spool.append({"n": 2})
    spool.append({"n": 3})
    assert spool.read()[0] == [{"n": 1}, {"n": 3}]


@contextmanager
def file_size_limit(num_bytes):
    """What is written beyond it is cut off, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
