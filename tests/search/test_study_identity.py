import pytest

from search.study_identity import Made, changes_between, check_accepted
from spvit.errors import StudyMismatchError

STORED = {"training": {"epochs": 3}, "search": {"num_trials": 8}}


def made(experiment=STORED, **changes):
    return Made(experiment=experiment, **{"table_sha256": "a" * 64, "code_sha256": "c" * 64} | changes)


def test_what_a_search_does_not_read_may_change():
    assert changes_between(made(), made(STORED | {"progressive": {"max_top1_drop": 2.0}})) == {}
    assert changes_between(made(), made(STORED | {"search": {"num_trials": 9}})) == {}


def test_a_table_that_an_older_study_did_not_have_says_nothing_while_it_is_empty():
    assert changes_between(made(), made(STORED | {"losses": {}})) == {}
    assert changes_between(made(STORED | {"losses": {}}), made()) == {}
    assert changes_between(made(), made(STORED | {"losses": {"ratio": 0}})) != {}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (made(STORED | {"training": {"epochs": 4}}), r"training\.epochs: 3 -> 4"),
        (made(STORED | {"training": {"epochs": 3, "lr": 0.1}}), r"training\.lr: absent -> 0\.1"),
        (made(table_sha256="b" * 64), r"latency table \(SHA-256\): aaaaaaaaaaaa -> bbbbbbbbbbbb"),
        (made(versions={"torch": "2.14"}), r"package torch: 2\.13 -> 2\.14"),
        (made(code_sha256="d" * 64), r"code \(SHA-256\): cccccccccccc -> dddddddddddd"),
    ],
)
def test_what_decides_a_trial_may_not_and_is_told_with_both_values(changed, told):
    changes = changes_between(made(versions={"torch": "2.13"}), changed)
    with pytest.raises(StudyMismatchError, match=rf"{told}\n.*\n.*--accept-change"):
        check_accepted("s", changes)
    check_accepted("s", changes, accepted=changes)


def test_what_an_older_study_did_not_note_is_no_change():
    assert changes_between(made(code_sha256=""), made(versions={"torch": "2.14"})) == {}


def test_many_changes_are_told_in_ten_lines():
    changes = {f"training.key{i}": ("1", "2") for i in range(40)}
    with pytest.raises(StudyMismatchError) as caught:
        check_accepted("s", changes)
    assert len(str(caught.value).splitlines()) <= 10
    assert "and 35 more" in str(caught.value)
