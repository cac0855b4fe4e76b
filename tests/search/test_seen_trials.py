import tabulated
from hypothesis import given, settings
from hypothesis import strategies as st

from search import budget as budgets
from search.budget import RememberedPrice
from search.records import StudyRecord
from search.seen_trials import SeenTrials
from search.space import SearchSpace

SHARE = st.floats(0.0, 1.0)


def _params(values):
    keep, share, ratio = values
    return {"keep1": 0.3 + 0.6 * keep, "keep2_share": share, "keep3_share": 0.5, "ratio": 0.1 + 3.9 * ratio}


@settings(max_examples=40)
@given(st.lists(st.tuples(SHARE, SHARE, SHARE), min_size=1, max_size=12), st.tuples(SHARE, SHARE, SHARE))
def test_what_was_seen_is_what_has_the_identity_of_a_trial(tmp_path_factory, seen, asked):
    space = _space(tmp_path_factory)
    trials, identities = SeenTrials(space), set()
    for values in seen:
        config = space.trial_config(space.completed(_params(values)))
        trials.add(config)
        identities.add(space.identity(config))
    for values in (*seen, asked, (*asked[:2], seen[0][2]), (*seen[0][:2], asked[2])):
        config = space.trial_config(space.completed(_params(values)))
        known = trials.has(space.completed(_params(values)), space.network_of(config))
        assert known == (config in trials) == (space.identity(config) in identities)


def _space(tmp_path_factory):
    return SearchSpace(tabulated.experiment(tmp_path_factory.getbasetemp()), tabulated.GEOMETRY, None)


def test_prices_of_any_number_of_networks_take_a_bounded_memory(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(budgets, "MAX_REMEMBERED", 5)
    space, asked = _space(tmp_path_factory), []

    def price(plan):
        asked.append(plan)
        return tabulated.price(plan)

    remembered = RememberedPrice(price)
    plans = [space.network_of(space.trial_config(space.completed(_params((n / 20, 0.5, 0.5))))) for n in range(21)]
    assert [remembered(plan) for plan in plans] == [tabulated.price(plan) for plan in plans]
    assert remembered(plans[-1]) == tabulated.price(plans[-1])
    assert asked.count(plans[-1]) == 1
    assert len(remembered._known) <= 5


def test_a_study_takes_a_trial_as_it_stands_in_its_place(study, make_trial):
    plain = {trial.number: trial for trial in study.trials}
    for trial in (make_trial(3, 70.0, 5.0), make_trial(6, 70.0, 5.0), make_trial(0, 1.0, 5.0)):
        expected = tuple(t for _, t in sorted((plain | {trial.number: trial}).items()))
        changed = study.with_trial(trial)
        assert isinstance(changed, StudyRecord)
        assert changed.trials == expected
