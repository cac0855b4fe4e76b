"""What a model does here and now: accuracy on the splits there are, and time beside the dense model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from latency_tables.key import Runtime
from search.latency_config import LatencyConfig
from spvit.errors import ConfigError
from spvit.options import TokenForm
from trainers.config import DataConfig, DataFormat
from trainers.data import Loading, Split, open_split
from trainers.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor, nn

    from latency_tables.elapsed import ElapsedTime
    from latency_tables.timing import Comparison
    from search.formats import Model
    from trainers.plain_images import PlainImages

DENSE = "dense"
NUM_ROUNDS = 40
EVALUATION_BATCH_SIZE = 256

Progress = Callable[[float, str], None]


class Verdict(StrEnum):
    """Whether a measured interval is within the budget; times of one device say nothing of another's budget."""

    MET = "met"
    NOT_MET = "not met"
    UNCERTAIN = "uncertain: the budget lies within the measurement's interval"
    NOT_ON_TARGET = "not measured on the target"


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """One model, measured. Top-1 in percent, None where the split or trained weights are missing.

    `ratio` is the model's time over the dense model's, run just before and after, with a 90 % interval. `form` is how
    it ran, for both. `p50_ms` and `p95_ms` are by the clock of the latency table, which for one CPU thread does not see
    what other programs take of the core; `elapsed` is what passed on the wall.
    """

    val_top1: float | None
    test_top1: float | None
    p50_ms: float
    p95_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    form: TokenForm = TokenForm.GATHERED
    elapsed: ElapsedTime | None = None

    @property
    def speed_up(self) -> float:
        """How many times as fast as the dense model."""
        return 1.0 / self.ratio

    @property
    def is_faster(self) -> bool:
        """Whether the model is faster than the dense one by more than the noise."""
        return self.ratio_high < 1.0

    def verdict(self, *, dense_ms: float, max_latency_ms: float) -> Verdict:
        """Compare with a budget: on the scale of a dense model that takes `dense_ms`, and what passed on the wall.

        The ratio to the dense model stays what it is on a throttled or shared machine; the wall's time does not.
        """
        by_ratio = ratio_verdict(self.ratio_low, self.ratio_high, dense_ms=dense_ms, max_latency_ms=max_latency_ms)
        return by_ratio if self.elapsed is None else worse(by_ratio, elapsed_verdict(self.elapsed, max_latency_ms))


def elapsed_verdict(elapsed: ElapsedTime, max_latency_ms: float) -> Verdict:
    """Compare what passed on the wall with a budget."""
    return _within(elapsed.low_ms, elapsed.high_ms, max_latency_ms)


def ratio_verdict(low: float, high: float, *, dense_ms: float, max_latency_ms: float) -> Verdict:
    """Compare a time over the dense model's with a budget, where that model takes `dense_ms`."""
    return _within(low * dense_ms, high * dense_ms, max_latency_ms)


def worse(first: Verdict, second: Verdict) -> Verdict:
    """Of two verdicts on one budget the one that promises less."""
    order = (Verdict.NOT_ON_TARGET, Verdict.NOT_MET, Verdict.UNCERTAIN, Verdict.MET)
    return min(first, second, key=order.index)


def _within(low_ms: float, high_ms: float, max_latency_ms: float) -> Verdict:
    if high_ms <= max_latency_ms:
        return Verdict.MET
    return Verdict.NOT_MET if low_ms > max_latency_ms else Verdict.UNCERTAIN


def certify(
    models: Mapping[str, nn.Module],
    *,
    trained: frozenset[str],
    data: DataConfig,
    preprocessing: Preprocessing,
    latency: LatencyConfig,
    unevaluated: frozenset[tuple[str, Split]] = frozenset(),
    time_limit_s: float = 60.0,
    progress: Progress = lambda _share, _text: None,
) -> dict[str, Certificate]:
    """Evaluate the trained models and time all of them side by side.

    Args:
        models: by name, in evaluation mode; the unpruned one is called `dense`.
        trained: names of those whose accuracy means something.
        data: where the validation split is, and perhaps a test split.
        preprocessing: how the models want their images.
        latency: device, runtime, threads, batch size and number format to time with.
        unevaluated: models by name on splits that somebody else evaluates them on.
        time_limit_s: bound on the timing.
        progress: told the finished share and what is being done.

    Raises:
        ConfigError: the runtime is missing here.
        DataError: the validation split cannot be read.
    """
    check_runtime(latency)
    top1s: dict[tuple[str, Split], float] = {}
    for number, name in enumerate(sorted(trained)):
        for split in splits_of(data):
            if (name, split) in unevaluated:
                continue
            progress(0.6 * number / len(trained), f"evaluating {name} on {split}")
            top1s[name, split] = _top1(models[name], data, split, preprocessing)
    progress(0.6, "timing the models side by side")
    timed = time_side_by_side(models, preprocessing, latency, time_limit_s=time_limit_s)
    progress(1.0, "done")
    return {
        name: Certificate(
            val_top1=top1s.get((name, Split.VAL)),
            test_top1=top1s.get((name, Split.TEST)),
            p50_ms=timed[name].p50_ms,
            p95_ms=timed[name].p95_ms,
            ratio=timed[name].ratio.median,
            ratio_low=timed[name].ratio.low,
            ratio_high=timed[name].ratio.high,
            elapsed=timed[name].elapsed,
        )
        for name in models
    }


def check_runtime(latency: LatencyConfig, *, is_adaptive: bool = False) -> None:
    """Refuse what cannot be timed here, to be asked before anything is evaluated.

    Args:
        latency: device, runtime and threads.
        is_adaptive: whether token counts depend on the image.

    Raises:
        ConfigError: the runtime is missing here, or takes no models whose token counts depend on the image.
    """
    import torch

    from latency_tables.engine import engine_for

    runtime = Runtime(latency.runtime)
    if is_adaptive and runtime is not Runtime.EAGER:
        raise ConfigError(
            "Models whose token counts depend on the image run eagerly only, but latency.runtime = "
            f'"{runtime}" was set. Evaluate with --form gathered, or with --set latency.runtime=eager.'
        )
    engine_for(runtime, num_threads=latency.num_threads).check(torch.device(latency.device))


def splits_of(data: DataConfig) -> tuple[Split, ...]:
    """Validation, and test where it lies beside it; libraries' data sets have splits of other names."""
    match data.format:
        case DataFormat.NPZ:
            has_test = (data.path / f"{Split.TEST}.npz").exists()
        case DataFormat.FOLDER:
            has_test = (data.path / Split.TEST).exists()
        case _:
            has_test = False
    return (Split.VAL, Split.TEST) if has_test else (Split.VAL,)


def _top1(model: nn.Module, data: DataConfig, split: Split, preprocessing: Preprocessing) -> float:
    from trainers.evaluate import evaluate

    loading = Loading(batch_size=EVALUATION_BATCH_SIZE, training=False)
    return evaluate(model, open_split(data, split, preprocessing, loading).epoch(0)).top1


def time_side_by_side(
    models: Mapping[str, nn.Module],
    preprocessing: Preprocessing,
    latency: LatencyConfig,
    *,
    images: PlainImages | None = None,
    time_limit_s: float = 60.0,
    on_round: Callable[[float], None] = lambda _share: None,
) -> Mapping[str, Comparison]:
    """Time copies of the models in evaluation mode, on the device, in the runtime and format that the latency is for.

    Args:
        models: by name; the unpruned one is called `dense`.
        preprocessing: the shape of their images.
        latency: device, runtime, threads, batch size and number format.
        images: real ones, for models whose time depends on them, of which whole batches are taken; one batch of noise
            where absent.
        time_limit_s: bound on the timing.
        on_round: told the finished share after every round.

    Raises:
        ConfigError: the runtime is missing here, or takes no models whose token counts depend on the image.
    """
    import torch

    from latency_tables.engine import engine_for
    from latency_tables.quiet import steady_process
    from latency_tables.stream import compare_on_batches

    check_runtime(latency, is_adaptive=images is not None)
    dtype = getattr(torch, latency.dtype)
    copies = {name: copy.deepcopy(model).to(latency.device, dtype).eval() for name, model in models.items()}
    inputs = _noise(preprocessing, latency.batch_size) if images is None else images.stacked()
    batches = torch.split(inputs.to(latency.device, dtype), latency.batch_size)
    engine = engine_for(latency.runtime, num_threads=latency.num_threads)
    # Here already: what was compiled for other threads would be compiled once more within the timing.
    with steady_process(latency.num_threads):
        return compare_on_batches(
            {name: engine.model(model, batches[0]) for name, model in copies.items()},
            batches,
            dense=DENSE,
            num_rounds=NUM_ROUNDS,
            num_threads=latency.num_threads,
            device=latency.device,
            time_limit_s=time_limit_s,
            on_round=on_round,
        )


def time_functions(
    models: Mapping[str, Model], preprocessing: Preprocessing, latency: LatencyConfig, *, time_limit_s: float = 60.0
) -> Mapping[str, Comparison]:
    """Time functions of images side by side on the CPU, in float32, whatever runs them.

    Args:
        models: by name; the unpruned one is called `dense`.
        preprocessing: the shape of their images.
        latency: threads and batch size.
        time_limit_s: bound on the timing.
    """
    from latency_tables.timing import compare_models

    return compare_models(
        models,
        _noise(preprocessing, latency.batch_size),
        dense=DENSE,
        num_rounds=NUM_ROUNDS,
        num_threads=latency.num_threads,
        time_limit_s=time_limit_s,
    )


def _noise(preprocessing: Preprocessing, batch_size: int) -> Tensor:
    import torch

    shape = (batch_size, preprocessing.num_channels, preprocessing.height, preprocessing.width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
