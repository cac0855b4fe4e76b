"""What a search explores: Optuna's parameters on one side, `TrialConfig`s on the other. Imports no Optuna itself."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice, pairwise, product
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search.config import ExperimentConfig
from search.plain_values import PlainValues
from search.space_config import Choice, Domain, FloatRange, IntRange
from search.trial_identity import trial_identity
from search.warm_starts import Rates
from spvit.errors import ConfigError
from spvit.options import SelectorKind
from spvit.schedule import PackageMode, PruningSchedule, TokenGeometry, TokenPlan
from trainers.config import LatencyTarget, TrialConfig

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

MAX_CORNERS = 256


class SearchSpace:
    """The search space of one experiment on one backbone.

    Parameters have short names. Stage keep rates are explored as `keep1`, the cumulative rate of the first stage in
    [low, high], and `keep2_share`, `keep3_share`, ...: how much of the span from `low` to the rate before is kept,
    in [0, 1]. So rates never rise, none falls below `low`, and every parameter has fixed bounds, without which
    multivariate TPE and Gaussian processes cannot relate parameters to each other.

    Args:
        config: the experiment.
        geometry: of its backbone.
        latency: what the latency term of a trial's loss aims at.
    """

    def __init__(self, config: ExperimentConfig, geometry: TokenGeometry, latency: LatencyTarget | None = None) -> None:
        self.geometry = geometry
        self._default = config.trial(geometry.depth, latency)
        self._blocks = config.pruning.resolved_blocks(geometry.depth)
        self._space = config.search.space
        self._domains = self._find_domains()
        self._plain_values = PlainValues(self._default, {name: tuple(keys) for name, keys in self._sections()})
        self._check_corners()

    @property
    def default(self) -> TrialConfig:
        """The trial that the experiment file describes by itself."""
        return self._default

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that are explored."""
        return tuple(self._domains)

    def suggest(self, trial: BaseTrial) -> TrialConfig:
        """Draws every parameter from a trial of any study and says what it means."""
        return self.trial_config({name: _suggest(trial, name, domain) for name, domain in self._domains.items()})

    def trial_config(self, params: Mapping[str, Any]) -> TrialConfig:
        """The trial that parameters mean; the inverse of `suggest`, used when a study is resumed."""
        values = self._default.to_dict()
        values["pruning"] |= {key: params[key] for key in self._space.pruning}
        values["losses"] |= {key: params[key] for key in self._space.losses}
        values["training"] |= {key: params[key] for key in self._space.training}
        config = TrialConfig.model_validate(values)
        pruning = config.pruning.model_copy(update={"schedule": self._schedule(params)})
        return config.model_copy(update={"pruning": pruning})

    def fastest(self) -> tuple[TrialConfig, ...]:
        """The trials with every keep rate at its lowest, one for each form of selectors that may be chosen."""
        lowest = {
            name: 0.0 if name.endswith("_share") else _extremes(domain)[0] for name, domain in self._domains.items()
        }
        forms = product(*(choice.choices for choice in self._space.pruning.values()))
        return tuple(self.trial_config(lowest | dict(zip(self._space.pruning, form, strict=True))) for form in forms)

    @property
    def stage_rates(self) -> Rates | None:
        """What stage keep rates may be; None where the search does not explore them."""
        rates = self._space.stage_keep_rates
        return None if rates is None else Rates(blocks=self._blocks, low=rates.low, high=rates.high)

    def params_of(self, schedule: PruningSchedule) -> dict[str, Any]:
        """Parameters that mean this schedule, with everything else as the file says; for spaces of stage keep rates.

        Raises:
            ValueError: the schedule lies outside of the space.
        """
        rates, bounds = schedule.keep_rates, self._space.stage_keep_rates
        if (
            bounds is None
            or schedule.blocks != self._blocks
            or not bounds.low <= min(rates) <= max(rates) <= bounds.high
        ):
            raise ValueError(f"{schedule} lies outside of the search space.")
        params: dict[str, Any] = {"keep1": rates[0]}
        for stage, (before, rate) in enumerate(pairwise(rates), start=2):
            params[f"keep{stage}_share"] = (rate - bounds.low) / (before - bounds.low) if before > bounds.low else 1.0
        values = self._default.to_dict()
        for section, domains in self._sections():
            params |= {key: _nearest(values[section][key], domain) for key, domain in domains.items()}
        return params

    def network_of(self, config: TrialConfig) -> TokenPlan:
        """The network of a trial, in integer token counts."""
        pruning = config.pruning
        return pruning.schedule.plan(self.geometry, pruning.package, pruning.selector)

    def identity(self, config: TrialConfig) -> str:
        """Equal for two trials exactly if training both would be a waste.

        That is: the same network in integer tokens, and everything else equal to 3 significant digits.
        """
        return trial_identity(config.to_dict(), self.network_of(config))

    def network_of_params(self, params: Mapping[str, Any]) -> TokenPlan:
        """What `network_of` says of the trial that parameters mean, without making it."""
        pruning = self._default.pruning
        package = PackageMode(params.get("package", pruning.package))
        selector = SelectorKind(params.get("selector", pruning.selector))
        return self._schedule(params).plan(self.geometry, package, selector)

    def identity_of_params(self, params: Mapping[str, Any], network: TokenPlan) -> str:
        """What `identity` says of the trial that parameters mean, whose network is known, without making it."""
        return trial_identity(self._plain_values.of(params), network)

    def _find_domains(self) -> dict[str, Domain]:
        domains: dict[str, Domain] = {}
        if self._space.base_keep_rate is not None:
            domains["base_keep_rate"] = self._space.base_keep_rate
        if self._space.stage_keep_rates is not None:
            domains["keep1"] = self._space.stage_keep_rates
            shares = range(2, len(self._blocks) + 1)
            domains |= {f"keep{stage}_share": FloatRange(low=0.0, high=1.0) for stage in shares}
        for _, section in self._sections():
            domains |= section
        return domains

    def _sections(self) -> tuple[tuple[str, Mapping[str, Domain]], ...]:
        """What is explored besides keep rates, by the table of the trial that it belongs to."""
        space = self._space
        return (("pruning", space.pruning), ("losses", space.losses), ("training", space.training))

    def _schedule(self, params: Mapping[str, Any]) -> PruningSchedule:
        if "base_keep_rate" in params:
            return PruningSchedule.from_base_rate(params["base_keep_rate"], self._blocks)
        if "keep1" not in params or self._space.stage_keep_rates is None:
            return self._default.pruning.schedule
        low = self._space.stage_keep_rates.low
        rates = [float(params["keep1"])]
        for stage in range(2, len(self._blocks) + 1):
            rates.append(min(rates[-1], low + params[f"keep{stage}_share"] * (rates[-1] - low)))
        return PruningSchedule.from_keep_rates(rates, self._blocks)

    def _check_corners(self) -> None:
        """Refuses, before anything is trained, bounds that no trial may have.

        Raises:
            ConfigError: some combination of bounds is refused by `[losses]` or `[training]`, or by the backbone.
        """
        corners = product(*(_extremes(domain) for domain in self._domains.values()))
        for corner in islice(corners, MAX_CORNERS):
            params = dict(zip(self._domains, corner, strict=True))
            try:
                self.network_of(self.trial_config(params))
            except ValidationError as error:
                raise ConfigError(_explain_corner(params, error.errors()[0])) from None
            except ValueError as error:
                raise ConfigError(f"pruning.blocks do not fit the model: {error}") from None


def _explain_corner(params: Mapping[str, Any], problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    drawn = ", ".join(f"{name} = {value}" for name, value in params.items())
    return (
        f"[search.space] reaches a trial that is not allowed ({drawn}): {where}: {problem['msg']}. "
        f"Narrow the bounds of that parameter or change what it depends on."
    )


def _suggest(trial: BaseTrial, name: str, domain: Domain) -> Any:
    match domain:
        case FloatRange():
            return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
        case IntRange():
            return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
        case Choice():
            return trial.suggest_categorical(name, domain.choices)


def _nearest(value: Any, domain: Domain) -> Any:
    """The value itself, or what the domain has nearest to it."""
    if isinstance(domain, Choice):
        return value if value in domain.choices else domain.choices[0]
    return domain.low if value is None else min(max(value, domain.low), domain.high)


def _extremes(domain: Domain) -> tuple[Any, ...]:
    return domain.choices if isinstance(domain, Choice) else (domain.low, domain.high)
