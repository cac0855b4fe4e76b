from hypothesis import given
from hypothesis import strategies as st

from spvit.wording import first_line, first_of, some_names


def test_the_first_line_that_says_something_is_an_errors():
    assert first_line(ValueError("\n  two\nthree")) == "two"
    assert first_line(KeyError()) == first_line(KeyError(), most=99) == "KeyError"
    assert first_line(ValueError("abcdef"), most=4) == "abcd"


@given(st.lists(st.text("ab")), st.integers(1, 5))
def test_nothing_is_left_out_unsaid(items, most):
    shown = first_of(items, most)
    left = len(items) - most
    assert shown == (items if left <= 0 else [*items[:most], f"and {left} more"])


def test_names_are_told_in_their_order():
    assert some_names({"c", "b", "a", "d", "e"}) == "a, b, c and 2 more"
    assert some_names(["b", "a"]) == "a, b"
    assert some_names([]) == "nothing"
