import pytest

from search.study_identity import check_same
from spvit.errors import StudyMismatchError

STORED = {"training": {"epochs": 3}, "search": {"num_trials": 8}}


def check(given):
    check_same("s", stored=STORED, given=given, stored_table="a", given_table="a")


def test_what_a_search_does_not_read_may_change():
    check(STORED | {"progressive": {"max_top1_drop": 2.0}})
    check(STORED | {"search": {"num_trials": 9}})


def test_what_decides_a_trial_may_not():
    with pytest.raises(StudyMismatchError, match=r"training\.epochs: 3 in the study, 4 now"):
        check(STORED | {"training": {"epochs": 4}})
