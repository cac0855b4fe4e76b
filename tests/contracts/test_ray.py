"""Our searcher and scheduler hold Ray Tune's contracts, alone and within what Tune itself puts around a searcher."""

from ray.tune.search import ConcurrencyLimiter
from ray_contracts import SchedulerContract, SearcherContract

from search.searcher import DriverSearcher


class TestDriverSearcher(SearcherContract):
    """As Tune uses it."""


class TestLimitedSearcher(SearcherContract):
    """As Tune uses it where `max_concurrent_trials` is set."""

    def make_searcher(self, driver):
        return ConcurrencyLimiter(DriverSearcher(driver), max_concurrent=2)


class TestDriverScheduler(SchedulerContract):
    """As Tune uses it."""
