"""What a search explores: Optuna's parameters on one side, `TrialConfig`s on the other. Loads no Optuna by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from search.conditions import Values, has_effect, in_asking_order
from search.config import ExperimentConfig
from search.corners import check_corners
from search.default_space import default_space
from search.domains import Domain, extremes, nearest
from search.plain_values import PlainValues
from search.rate_space import RateSpace
from search.space_parameter import Parameter
from search.structure import Structure
from search.trial_identity import trial_identity
from search.warm_starts import Rates
from spvit.options import SelectorKind
from spvit.schedule import PackageMode, PruningSchedule, TokenGeometry, TokenPlan
from trainers.config import ElasticConfig, LatencyTarget, TrialConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

SECTIONS = ("pruning", "losses", "training")
ELASTIC = "elastic"
"""A further section, of elastic trials."""

Params = Mapping[str, Any]


class SearchSpace:
    """The search space of one experiment on one backbone.

    Parameters have short names, and fixed bounds: see `search.rate_space` for keep rates and `search.positions` for
    where selectors stand. A parameter that would have no effect is not asked for.

    Args:
        config: the experiment; where its space names nothing, the backbone's default is explored.
        geometry: of its backbone.
        latency: what the latency term of a trial's loss aims at.
        elastic: makes every trial elastic; without it what the space names of `elastic` is left alone.

    Raises:
        ConfigError: the space has trials that cannot be, or parameters that no trial asks for.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        geometry: TokenGeometry,
        latency: LatencyTarget | None = None,
        *,
        elastic: ElasticConfig | None = None,
    ) -> None:
        self.experiment, self.geometry = config, geometry
        self._sections = SECTIONS if elastic is None else (*SECTIONS, ELASTIC)
        self._default = config.fixed_trial(geometry.depth, latency).model_copy(update={"elastic": elastic})
        self._values = self._default.to_dict()
        given = config.search.space
        self._space = default_space(config, geometry) if given.explores_nothing else given
        own_blocks = config.pruning.resolved_blocks(geometry.depth)
        self.structure = Structure.of(self._space, own_blocks, geometry.depth)
        self._rates = RateSpace(
            space=self._space,
            structure=self.structure,
            default=self._default.pruning.schedule,
            fixed_base=config.pruning.base_keep_rate,
        )
        self._parameters = self._find_parameters()
        self._plain_values = PlainValues(self._default, self._by_section())
        check_corners(self)

    @property
    def default(self) -> TrialConfig:
        """The trial that the experiment file describes by itself."""
        return self._default

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that are explored; a trial asks for those that have an effect."""
        return tuple(parameter.name for parameter in self._parameters)

    @property
    def domains(self) -> Mapping[str, Domain]:
        """What each of them may be."""
        return {parameter.name: parameter.domain for parameter in self._parameters}

    def suggest(self, trial: BaseTrial) -> TrialConfig:
        """Draws every parameter from a trial of any study and says what it means."""
        return self._config(*self._walk(lambda parameter: parameter.suggested(trial)))

    def distributions(self, params: Params) -> dict[str, BaseDistribution]:
        """What Optuna is to know that parameters were drawn from.

        Raises:
            ValueError: one is missing that the others ask for, or lies outside of its domain.
        """
        from optuna.trial import FixedTrial

        trial = FixedTrial(dict(params))
        self.suggest(trial)
        return dict(trial.distributions)

    def trial_config(self, params: Params) -> TrialConfig:
        """The trial that parameters mean; the inverse of `suggest`, used when a study is resumed.

        Raises:
            KeyError: a parameter is missing that the others ask for.
        """
        return self._config(*self._walk(lambda parameter: params[parameter.name]))

    def asked(self, params: Params) -> tuple[str, ...]:
        """Which of these parameters a trial would ask for, the others of them being as they are."""
        return tuple(self._asked(params))

    def completed(self, params: Params) -> dict[str, Any]:
        """The parameters that a trial asks for: these, and for the others what is nearest to the file's own.

        Raises:
            KeyError: one that makes up the schedule is missing.
        """

        def value_of(parameter: Parameter) -> Any:
            if parameter.name in params or not parameter.section:
                return params[parameter.name]
            return nearest(self._values[parameter.section][parameter.name], parameter.domain)

        return self._walk(value_of)[0]

    def fastest(self) -> tuple[TrialConfig, ...]:
        """The trials of which one is the cheapest: every keep rate at its lowest, selectors as early as they may be.

        One for each number or choice of blocks, and each form of selectors that may be chosen.
        """
        forms = list(product(*(choice.choices for choice in self._space.pruning.values())))
        lowest = {p.name: 0.0 if p.name.endswith("_share") else extremes(p.domain)[0] for p in self._parameters}
        return tuple(
            self.trial_config(lowest | placed | dict(zip(self._space.pruning, form, strict=True)))
            for placed in self.structure.earliest()
            for form in forms
        )

    @property
    def stage_rates(self) -> Rates | None:
        """What stage keep rates may be, at their usual blocks; None where the search does not explore them."""
        return self._rates.stage_rates

    @property
    def base_rates(self) -> Rates | None:
        """What the base keep rate may be, at the usual blocks; None where the search does not explore it."""
        return self._rates.base_rates

    def params_of(self, schedule: PruningSchedule) -> dict[str, Any]:
        """Parameters that mean this schedule, with everything else as the file says.

        Raises:
            ValueError: the schedule lies outside of the space.
        """
        return self.completed({**self.structure.params_of(schedule.blocks), **self.rate_params(schedule.keep_rates)})

    def rate_params(self, rates: tuple[float, ...]) -> dict[str, Any]:
        """Parameters that mean these cumulative keep rates.

        Raises:
            ValueError: the rates lie outside of the space.
        """
        return self._rates.params_of(rates)

    def network_of(self, config: TrialConfig) -> TokenPlan:
        """The network of a trial, in integer token counts."""
        pruning = config.pruning
        return pruning.schedule.plan(self.geometry, pruning.package, pruning.selector)

    def identity(self, config: TrialConfig) -> str:
        """Equal for two trials exactly if training both would be a waste.

        That is: the same network in integer tokens, and everything else that has an effect equal to 3 significant
        digits.
        """
        return trial_identity(config.to_dict(), self.network_of(config))

    def network_of_params(self, params: Params) -> TokenPlan:
        """What `network_of` says of the trial that parameters mean, without making it.

        Raises:
            KeyError: a parameter is missing that the others ask for.
        """
        asked, pruning = self._asked(params), self._default.pruning
        package = PackageMode(asked.get("package", pruning.package))
        selector = SelectorKind(asked.get("selector", pruning.selector))
        return self._rates.schedule(asked).plan(self.geometry, package, selector)

    def identity_of_params(self, params: Params, network: TokenPlan) -> str:
        """What `identity` says of the trial that parameters mean, whose network is known, without making it.

        Raises:
            KeyError: a parameter is missing that the others ask for.
        """
        return trial_identity(self._plain_values.of(self._asked(params)), network)

    def _asked(self, params: Params) -> Params:
        return self._walk(lambda parameter: params[parameter.name])[0]

    def _find_parameters(self) -> tuple[Parameter, ...]:
        placed = (Parameter.of_structure(name, domain) for name, domain in self.structure.domains.items())
        return (*placed, *self._rates.parameters(), *self._find_settings())

    def _by_section(self) -> dict[str, tuple[str, ...]]:
        """Names of the explored keys of each table of a trial."""
        return {section: tuple(p.name for p in self._parameters if p.section == section) for section in self._sections}

    def _find_settings(self) -> Iterator[Parameter]:
        """Keys of the trial's tables, each behind those that it depends on."""
        domains = {(section, key): d for section in self._sections for key, d in getattr(self._space, section).items()}
        for section, key in sorted(in_asking_order(domains), key=lambda key: domains[key].when is not None):
            yield Parameter(name=key, domain=domains[section, key], section=section)

    def _walk(self, value_of: Callable[[Parameter], Any]) -> tuple[dict[str, Any], Values]:
        """Asks for the parameters one after the other, as far as those before say that they have an effect.

        Returns:
            The parameters, and the tables of the trial with them.
        """
        params: dict[str, Any] = {}
        values = self._values | {section: dict(self._values[section]) for section in self._sections}
        for parameter in self._parameters:
            if not self._is_asked(parameter, params, values):
                continue
            params[parameter.name] = value_of(parameter)
            if parameter.section:
                values[parameter.section][parameter.name] = params[parameter.name]
        return params, values

    def _is_asked(self, parameter: Parameter, params: Params, values: Values) -> bool:
        if parameter.stage:
            return parameter.stage <= self.structure.num_stages(params)
        return has_effect((parameter.section, parameter.name), values) and parameter.domain.is_asked(params)

    def _config(self, params: Params, values: Values) -> TrialConfig:
        config = TrialConfig.model_validate(values)
        pruning = config.pruning.model_copy(update={"schedule": self._rates.schedule(params)})
        return config.model_copy(update={"pruning": pruning})
