import logging

import pytest

from search.worker_warnings import MAX_KEPT, WarningCollector


@pytest.fixture
def collector():
    made = WarningCollector.installed()
    yield made
    for name in WarningCollector.PACKAGES:
        logging.getLogger(name).removeHandler(made)


def test_warnings_of_our_packages_are_taken_once(collector):
    logging.getLogger("trainers.folder").warning("Damaged image left out: %s", "a.jpg")
    logging.getLogger("spvit.factory").info("not a warning")
    logging.getLogger("elsewhere").warning("not ours")
    assert collector.take() == ["Damaged image left out: a.jpg"]
    assert collector.take() == []


def test_a_flood_is_bounded(collector):
    for number in range(3 * MAX_KEPT):
        logging.getLogger("trainers").warning("%d", number)
    assert len(collector.take()) == MAX_KEPT
