from pruner_contract import PrunerContract

from search.search_config import PrunerName


class TestPareto(PrunerContract):
    rule = PrunerName.PARETO


class TestMedian(PrunerContract):
    rule = PrunerName.MEDIAN


class TestSuccessiveHalving(PrunerContract):
    rule = PrunerName.SUCCESSIVE_HALVING


class TestHyperband(PrunerContract):
    rule = PrunerName.HYPERBAND


class TestWilcoxon(PrunerContract):
    rule = PrunerName.WILCOXON


class TestPatient(PrunerContract):
    rule = PrunerName.PATIENT


class TestNone(PrunerContract):
    rule = PrunerName.NONE
    stops = False
