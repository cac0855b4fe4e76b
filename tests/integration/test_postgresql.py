"""A study in a real PostgreSQL server: searched, resumed, read and fenced as one in SQLite is."""

import os
import sys
from pathlib import Path

import postgres_server
import pytest
from settled import violations

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))

import tabulated
from command_line import call_here

from search.config import ExperimentConfig
from search.study import read_study
from search.study_opening import OpeningTerms
from spvit.errors import StorageError, StudyLockedError

pytestmark = [pytest.mark.large, pytest.mark.integration]
DRIVER = OpeningTerms(as_driver=True)


@pytest.fixture(scope="module")
def server():
    programs = postgres_server.programs()
    if programs is None:
        reason = "PostgreSQL is not installed (Debian and Ubuntu: apt-get install postgresql)"
        assert not os.environ.get("REQUIRE_SERVICES"), reason
        pytest.skip(reason)
    with postgres_server.running(programs) as server, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PGPASSWORD", server.password)
        yield server


def _experiment(directory, server, name, **search):
    config = tabulated.experiment(directory, num_concurrent=1, num_trials=4, **search)
    values = config.model_dump(mode="json")
    storage = None if server is None else server.url
    values["study"] |= {"name": name, "storage": storage}
    values["tracking"]["enabled"] = False
    return ExperimentConfig.model_validate(values)


def _search(config, *, max_reports=None):
    driver = tabulated.make_driver(config)
    tabulated.run(driver, max_reports=max_reports)
    if max_reports is None:
        driver.finish()
    return read_study(driver.directory)


@pytest.fixture(scope="module")
def searched(server, tmp_path_factory):
    """A study whose driver died once on the way."""
    config = _experiment(tmp_path_factory.mktemp("runs"), server, "in-postgres")
    _search(config, max_reports=7)
    return _search(config)


def test_a_search_finds_there_what_it_finds_in_sqlite(searched, tmp_path):
    in_sqlite = _search(_experiment(tmp_path, None, "in-sqlite"))

    def ended(study):
        return [(t.params, t.curve, t.state, t.top1) for t in study.trials if not t.reason.startswith("interrupted")]

    assert ended(searched) == ended(in_sqlite)
    assert len(searched.trials) > len(in_sqlite.trials)
    assert not list(Path(searched.directory).glob("*.db"))


def test_it_keeps_every_invariant_and_shows_no_password(searched, server):
    assert violations(Path(searched.directory)) == ()
    for path in Path(searched.directory).rglob("*"):
        assert path.is_dir() or server.password.encode() not in path.read_bytes()
    assert server.password not in str(searched)


def test_it_is_read_by_url_and_name_where_its_folder_is_not(searched, server, tmp_path):
    out, _ = call_here("status", "in-postgres", "--runs-dir", tmp_path, "--storage", server.url)
    assert "study     in-postgres (not running)" in out
    again, _ = call_here("trials", "in-postgres", "--runs-dir", tmp_path)  # from now on by its name alone
    assert len(again.splitlines()) == 1 + len(searched.trials)
    _, err = call_here("status", "other", "--runs-dir", tmp_path, "--storage", server.url, code=2)
    assert "no study 'other' in postgresql://***@127.0.0.1" in err


def test_a_driver_with_another_folder_is_refused_and_may_take_over(server, tmp_path):
    first = tabulated.make_store(_experiment(tmp_path / "here", server, "shared"), terms=DRIVER)
    proposer = tabulated.make_proposer(_experiment(tmp_path / "here", server, "shared"))
    first.start(proposer.propose(0))
    there = _experiment(tmp_path / "there", server, "shared")
    with pytest.raises(StudyLockedError, match=r"is being run by process \d+ on .* --takeover"):
        tabulated.make_store(there, terms=DRIVER)
    second = tabulated.make_store(there, terms=OpeningTerms(as_driver=True, takeover=True))
    with pytest.raises(StudyLockedError, match="taken over"):
        first.complete(0, 99.0)
    assert second.complete(0, 70.0).top1 == 70.0
    assert [t.top1 for t in read_study(tmp_path / "here" / "shared").trials] == [70.0]
    first.close()
    second.close()


def test_a_wrong_password_is_an_error_that_does_not_tell_the_right_one(searched, server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "swordfish")
    with pytest.raises(StorageError, match=r"password authentication failed .*PGPASSWORD") as caught:
        read_study(Path(searched.directory))
    assert "swordfish" not in str(caught.value)
    assert server.password not in str(caught.value)


def test_a_server_that_is_away_is_a_storage_error(tmp_path):
    values = _experiment(tmp_path, None, "away").model_dump(mode="json")
    values["study"]["storage"] = "postgresql://me@127.0.0.1:1/none"
    with pytest.raises(StorageError, match=r"check that the server can be reached.*resume away"):
        tabulated.make_store(ExperimentConfig.model_validate(values))
