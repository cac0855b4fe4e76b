import pytest

from search.attempts import check_claim, claim_folder
from spvit.errors import StorageError, StudyLockedError


def test_a_folder_is_its_last_attempts_alone(tmp_path):
    folder = tmp_path / "trials" / "3"
    check_claim(folder, 3)  # nobody has claimed it
    claim_folder(folder, 3)
    check_claim(folder, 3)
    claim_folder(folder, 7)
    check_claim(folder, 7)
    with pytest.raises(StudyLockedError, match="trial 3 was given to a later attempt, trial 7"):
        check_claim(folder, 3)
    assert [path.name for path in folder.iterdir()] == ["attempt"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "trials").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        claim_folder(tmp_path / "trials" / "3", 3)
