import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.tracking_message import Assignment, Message

TEXTS = st.text(max_size=9)


@given(
    st.builds(
        Message,
        experiment_id=st.none() | st.text(min_size=1, max_size=5),
        run_ids=st.dictionaries(st.none() | st.integers(0, 99), TEXTS, max_size=4),
        failure=TEXTS,
        warning=TEXTS,
    )
)
def test_a_message_is_one_line_and_comes_back(message):
    line = message.to_line()
    assert line.count(b"\n") == 1
    assert Message.from_line(line) == message


@given(st.builds(Assignment, directory=TEXTS, uri=TEXTS, driver_pid=st.integers(), linger_s=st.floats(0, 9)))
def test_an_assignment_is_one_line_and_comes_back(assignment):
    line = assignment.to_line()
    assert line.count(b"\n") == 1
    assert Assignment.from_line(line) == assignment


@pytest.mark.parametrize("line", [b"", b"a library printed this\n", b"3\n", b'{"unknown": 1}\n'])
def test_what_is_no_message_is_refused(line):
    with pytest.raises((ValueError, TypeError)):
        Message.from_line(line)
