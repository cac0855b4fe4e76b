import math
import pickle

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from search import KnownLatencySampler
from spvit.errors import NothingFeasibleError

SPACE = {"width": FloatDistribution(0.1, 1.0), "rate": FloatDistribution(1e-4, 1.0, log=True)}
KINDS = ("plain", "gated", "none")


def latency_of(params):
    return 10 * params["width"]


def quality_of(params):
    return 90 + 5 * math.sqrt(params["width"]) - 4 * math.log10(params["rate"] / 0.01) ** 2


def suggest(trial):
    return {"width": trial.suggest_float("width", 0.1, 1.0), "rate": trial.suggest_float("rate", 1e-4, 1.0, log=True)}


def mixed(trial):
    """Every kind of parameter, and a branch each for two of three kinds."""
    params = {
        "kind": trial.suggest_categorical("kind", KINDS),
        "depth": trial.suggest_int("depth", 1, 4),
        "size": trial.suggest_int("size", 8, 512, log=True),
        "share": trial.suggest_float("share", 0.0, 1.0, step=0.25),
    }
    if params["kind"] == "gated":
        params["gates"] = trial.suggest_int("gates", 1, 8)
    if params["kind"] == "plain":
        params["slope"] = trial.suggest_float("slope", 0.1, 10.0, log=True)
    return params


def mixed_latency(params):
    extra = {"gated": lambda: params["gates"], "plain": lambda: params["slope"], "none": lambda: 0.0}[params["kind"]]
    return params["depth"] * math.log2(params["size"]) * (1.5 - params["share"]) + extra()


def sampler(**kwargs):
    return KnownLatencySampler(latency_of, **({"seed": 0, "num_startup_trials": 3, "num_candidates": 100} | kwargs))


def study_of(a_sampler):
    return optuna.create_study(directions=["maximize", "minimize"], sampler=a_sampler)


def run(study, num_trials, *, draw=suggest, latency=latency_of, quality=quality_of):
    for _ in range(num_trials):
        trial = study.ask()
        params = draw(trial)
        study.tell(trial, [quality(params), latency(params)])
    return [trial.params for trial in study.trials]


def copied(trials, a_sampler):
    study = study_of(a_sampler)
    study.add_trials(trials)
    return study


def test_candidates_above_the_cap_are_never_proposed():
    params = run(study_of(sampler(max_latency_ms=3.0, search_space=SPACE)), 12)
    assert max(map(latency_of, params)) <= 3.0


def test_what_is_not_accepted_or_has_no_latency_is_never_proposed():
    latency = lambda params: math.nan if params["width"] > 0.5 else latency_of(params)
    accepts = lambda params: params["rate"] > 0.1
    chosen = KnownLatencySampler(latency, accepts=accepts, search_space=SPACE, seed=1, num_startup_trials=3)
    assert all(p["width"] <= 0.5 and p["rate"] > 0.1 for p in run(study_of(chosen), 8))


def test_it_finds_more_than_random_search_with_the_same_trials():
    def hypervolume(study):
        front = sorted((trial.values[1], -trial.values[0]) for trial in study.best_trials)
        bounds_ms = [ms for ms, _ in front[1:]] + [10.0]
        return sum(max(0.0, -loss - 60) * (end - ms) for (ms, loss), end in zip(front, bounds_ms, strict=True))

    ours, random = study_of(sampler(seed=2)), study_of(optuna.samplers.RandomSampler(seed=2))
    run(ours, 20), run(random, 20)
    assert hypervolume(ours) > hypervolume(random)


def test_a_restarted_study_goes_on_as_if_it_had_not_stopped():
    whole = study_of(sampler())
    run(whole, 8)
    restarted = copied(whole.trials[:6], sampler())
    assert run(restarted, 2)[-2:] == [trial.params for trial in whole.trials[6:]]


def test_another_seed_proposes_something_else():
    assert run(study_of(sampler(seed=1)), 6) != run(study_of(sampler(seed=2)), 6)


def test_a_pickled_sampler_proposes_the_same():
    study = study_of(sampler())
    run(study, 5)
    again = copied(study.trials, pickle.loads(pickle.dumps(study.sampler)))  # noqa: S301  # its own bytes
    assert run(again, 1)[-1] == run(study, 1)[-1]


def test_trials_running_at_once_are_kept_apart():
    study = study_of(sampler())
    run(study, 8)
    at_once = [suggest(study.ask()) for _ in range(4)]
    scaled = np.array([[p["width"] / 0.9, np.log10(p["rate"]) / 4] for p in at_once])
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)[np.triu_indices(4, 1)]
    assert apart.min() > 0.01


def test_a_trial_that_has_not_asked_for_anything_yet_is_no_obstacle():
    study = study_of(sampler())
    run(study, 4)
    study.ask()
    study._storage.create_new_trial(study._study_id)
    partly = study._storage.create_new_trial(study._study_id)
    study._storage.set_trial_param(partly, "rate", 0.1, SPACE["rate"])
    assert suggest(study.ask()).keys() == SPACE.keys()


def test_mixed_and_conditional_parameters_are_asked_for_in_every_branch():
    chosen = KnownLatencySampler(mixed_latency, max_latency_ms=30.0, seed=3, num_startup_trials=8, num_candidates=150)
    study = study_of(chosen)
    quality = lambda params: math.log2(params["size"]) + params.get("gates", 0) - params["depth"]
    params = run(study, 20, draw=mixed, latency=mixed_latency, quality=quality)
    assert {p["kind"] for p in params} == set(KINDS)
    late = params[8:]
    assert all(mixed_latency(p) <= 30.0 for p in late)
    assert all(("gates" in p) == (p["kind"] == "gated") and ("slope" in p) == (p["kind"] == "plain") for p in late)
    assert sum(p["kind"] == "gated" for p in late) > len(late) / 3


def test_an_enqueued_trial_is_what_was_enqueued_and_counts_as_known():
    study = study_of(sampler(max_latency_ms=5.0, search_space=SPACE))
    study.enqueue_trial({"width": 0.9, "rate": 0.5})
    study.enqueue_trial({"width": 0.3})
    first, second = run(study, 2)
    assert first == {"width": 0.9, "rate": 0.5}
    assert second["width"] == 0.3
    run(study, 5)
    study.enqueue_trial({"width": 0.2, "rate": 0.02})
    assert max(latency_of(p) for p in run(study, 2)[1:]) <= 5.0


def test_trials_made_elsewhere_are_learned_from():
    rates = np.geomspace(1e-4, 1.0, 9)
    made = [{"width": width, "rate": float(rate)} for width in (0.2, 0.8) for rate in rates]
    trials = [create_trial(params=p, distributions=SPACE, values=[quality_of(p), latency_of(p)]) for p in made]
    proposed = run(copied(trials, sampler()), 3)[-3:]
    assert all(3e-3 < p["rate"] < 4e-2 for p in proposed)


def test_failed_trials_are_ignored():
    study = study_of(sampler())
    run(study, 5)
    failed = create_trial(params={"width": 0.5, "rate": 0.5}, distributions=SPACE, state=TrialState.FAIL)
    with_failure = copied([*study.trials, failed], sampler())
    trial = with_failure.ask()
    number_before = copied(study.trials, sampler())
    number_before.add_trial(create_trial(state=TrialState.FAIL))
    assert suggest(trial) == suggest(number_before.ask())


def test_pruned_trials_keep_proposals_away():
    bad = [{"width": width, "rate": 0.9} for width in (0.2, 0.4, 0.6, 0.8)]
    pruned = [create_trial(params=p, distributions=SPACE, state=TrialState.PRUNED) for p in bad]
    good = [{"width": width, "rate": rate} for width in (0.3, 0.7) for rate in (1e-4, 1e-3, 0.01, 0.1)]
    finished = [create_trial(params=p, distributions=SPACE, values=[quality_of(p), latency_of(p)]) for p in good]
    assert all(p["rate"] < 0.5 for p in run(copied(pruned + finished, sampler()), 3)[-3:])


@pytest.mark.parametrize("quality", [-math.inf, 5.0])
def test_degenerate_qualities_are_survived(quality):
    study = study_of(sampler())
    run(study, 6, quality=lambda params: quality)
    assert len(run(study, 2)) == 8


def test_a_good_guess_saves_trials():
    trials = [
        create_trial(params=p, distributions=SPACE, values=[quality_of(p), latency_of(p)])
        for p in ({"width": 0.2, "rate": 1.0}, {"width": 0.5, "rate": 0.3}, {"width": 0.9, "rate": 0.1})
    ]
    guess = lambda params: 0.3 * quality_of(params)
    proposed = run(copied(trials, sampler(prior_mean=guess)), 1)[-1]
    blind = run(copied(trials, sampler()), 1)[-1]
    assert abs(math.log10(proposed["rate"] / 0.01)) < abs(math.log10(blind["rate"] / 0.01))


def test_a_space_that_is_used_up_is_repeated():
    study = study_of(KnownLatencySampler(lambda params: params["size"], seed=0, num_startup_trials=2))
    params = run(
        study,
        6,
        draw=lambda trial: {"size": trial.suggest_int("size", 1, 4)},
        latency=lambda params: params["size"],
        quality=lambda params: params["size"],
    )
    assert {p["size"] for p in params[:4]} == {1, 2, 3, 4}
    assert all(p["size"] in range(1, 5) for p in params[4:])


def test_nothing_within_the_cap_is_told():
    with pytest.raises(NothingFeasibleError, match=r"max_latency_ms = 0\.5"):
        suggest(study_of(sampler(max_latency_ms=0.5, search_space=SPACE)).ask())


@pytest.mark.parametrize("directions", [["minimize", "minimize"], ["maximize"], ["maximize", "minimize", "minimize"]])
def test_other_directions_are_refused(directions):
    study = optuna.create_study(directions=directions, sampler=sampler())
    with pytest.raises(ValueError, match=r"directions=\['maximize', 'minimize'\] .* but got"):
        study.ask()


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_latency_ms", 0.0), ("seed", -1), ("cap_weight", -1.0), ("num_startup_trials", 0), ("num_candidates", 0)],
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .* but got {value}"):
        sampler(**{name: value})


def test_a_large_front_does_not_make_a_proposal_dearer():
    asked = []

    def counted(params):
        asked.append(params)
        return latency_of(params)

    def num_asked(num_trials):
        study = study_of(KnownLatencySampler(counted, seed=0, num_startup_trials=3, num_candidates=50))
        for number in range(num_trials):  # the slower the better: every trial is on the front
            params = {"width": 0.1 + 0.9 * number / num_trials, "rate": 0.01}
            values = [80 + params["width"], latency_of(params)]
            study.add_trial(create_trial(params=params, distributions=SPACE, values=values))
        asked.clear()
        suggest(study.ask())
        return len(asked) - num_trials

    assert num_asked(120) < 1.2 * num_asked(60)
