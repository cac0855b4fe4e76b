"""The latency term agrees with the latency table where both are defined, and pulls only beyond the budget."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from latency_tables.conditions import Conditions
from latency_tables.device import DeviceFingerprint
from latency_tables.key import BackboneShape, SelectorOptions, TableKey
from latency_tables.measurement import Measurement
from latency_tables.predict import predict
from latency_tables.table import EndToEndCheck, LatencyTable
from spvit.errors import ConfigError
from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import SelectorKind, TokenForm
from spvit.schedule import PackageMode, PruningSchedule
from trainers.config import LatencyTarget, LossWeights, TrialConfig
from trainers.latency_loss import LatencySurrogate
from trainers.latency_target import LatencyCurve
from trainers.loss import Criterion, make_criterion

ARGS = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 4, "num_heads": 3, "num_classes": 4}
NUM_PATCHES = 16
KIND = SelectorKind.MULTI_HEAD


def row(ms: float) -> Measurement:
    return Measurement(median_ms=ms, low_ms=ms, high_ms=ms, num_samples=8)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    device = DeviceFingerprint(
        cpu_model="Testing CPU", isa_flags=(), logical_cores=1, usable_cores=1, torch_version="2.13.0", system="Linux"
    )
    shape = BackboneShape(
        depth=4,
        num_patches=NUM_PATCHES,
        num_prefix_tokens=1,
        embed_dim=24,
        num_heads=3,
        mlp_ratio=4.0,
        num_patch_inputs=48,
        num_classes=4,
    )
    return LatencyTable(
        key=TableKey(device_id=device.id, backbone="vit_test", shape=shape, batch_size=8),
        device=device,
        selector=SelectorOptions(),
        stem=row(0.4),
        head=row(0.1),
        dense=row(7.0),
        reference=row(1.6),
        blocks={n: row(0.1 + 0.03 * n + 0.004 * n * n) for n in (2, 6, 11, 17)},
        selections={n: row(0.02 + 0.002 * n) for n in (3, 9, 17)},
        last_blocks={n: row(0.05 + 0.011 * n) for n in (2, 7, 17)},
        other_selections={SelectorKind.LIGHT: {n: row(0.001 * n) for n in (3, 17)}},
        end_to_end=EndToEndCheck(
            scale=1.07,
            num_fitted=4,
            num_checked=4,
            median_error_percent=1.0,
            p90_error_percent=2.0,
            max_error_percent=3.0,
        ),
        conditions=Conditions(
            created_at=datetime(2026, 1, 2, tzinfo=UTC),
            load_average=0.1,
            cpu_pressure_percent=None,
            reference_spread_percent=5.0,
        ),
    )


def make_model(schedule: PruningSchedule, package: PackageMode = PackageMode.PER_SELECTOR) -> PrunedViT:
    torch.manual_seed(0)
    return PrunedViT(create_backbone("vit_tiny_patch16_224", args=ARGS), schedule, package=package)


@pytest.mark.parametrize(("package", "kind"), [*product(PackageMode, (KIND, SelectorKind.LIGHT))])
def test_equals_the_table_at_whole_counts(table: LatencyTable, package: PackageMode, kind: SelectorKind) -> None:
    schedule = PruningSchedule.from_keep_rates([0.8, 0.5, 0.2], [1, 2, 3])
    model = make_model(schedule, package)
    plan = schedule.plan(table.geometry, package, kind)
    assert surrogate_ms(table, model, kind) == pytest.approx(predict(table, plan).mean_ms, rel=1e-5)


@pytest.mark.parametrize(
    "schedule", [PruningSchedule.from_keep_rates(rates, [2, 3]) for rates in ([0.5, 0.5], [0.9, 0.2])]
)
@pytest.mark.parametrize("is_shortened", [True, False])
def test_last_block_costs_what_the_table_says(
    table: LatencyTable, schedule: PruningSchedule, is_shortened: bool
) -> None:
    table = table if is_shortened else replace(table, last_blocks={})
    expected = predict(table, schedule.plan(table.geometry)).mean_ms
    assert surrogate_ms(table, make_model(schedule), KIND) == pytest.approx(expected, rel=1e-5)


def surrogate_ms(table: LatencyTable, model: PrunedViT, kind: SelectorKind) -> float:
    """What the term's sum is at the model's own counts."""
    shares = torch.tensor([selection.num_kept / NUM_PATCHES for selection in model.plan.selections])
    return float(LatencySurrogate(LatencyTarget.from_table(table, 1.0), model, kind)(shares))


@given(shares=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2))
def test_more_tokens_cost_more_and_the_gradient_says_so(table: LatencyTable, shares: list[float]) -> None:
    model = make_model(PruningSchedule.from_keep_rates([0.8, 0.5], [1, 2]))
    surrogate = LatencySurrogate(LatencyTarget.from_table(table, 1.0), model, KIND)
    at = torch.tensor(shares, requires_grad=True)
    latency = surrogate(at)
    (gradient,) = torch.autograd.grad(latency, at)
    assert bool((gradient > 0).all())
    step = 0.01 * gradient
    assert float(surrogate((at + step).detach())) > float(latency.detach())


def test_nothing_pulls_within_the_budget(table: LatencyTable) -> None:
    model, at = make_model(PruningSchedule.from_keep_rates([0.5], [1])), torch.tensor([0.5], requires_grad=True)
    cost = float(LatencySurrogate(LatencyTarget.from_table(table, 1.0), model, KIND)(at))
    within = LatencySurrogate(LatencyTarget.from_table(table, 1.001 * cost), model, KIND).excess(at)
    beyond = LatencySurrogate(LatencyTarget.from_table(table, cost / 1.25), model, KIND).excess(at)
    assert float(within) == 0.0
    assert torch.autograd.grad(within, at)[0].item() == 0.0
    assert float(beyond) == pytest.approx(0.25, rel=1e-5)


def test_training_with_this_term_alone_lowers_the_keep_to_the_budget(table: LatencyTable) -> None:
    schedule = PruningSchedule.from_keep_rates([0.9], [1])
    model = make_model(schedule)
    budget = predict(table, PruningSchedule.from_keep_rates([0.5], [1]).plan(table.geometry)).mean_ms
    surrogate = LatencySurrogate(LatencyTarget.from_table(table, budget), model, KIND)
    only = LossWeights(classification=0.0, ratio=0.0, distillation=0.0, token_distillation=0.0, latency=1.0)
    criterion = Criterion(only, latency=surrogate)
    optimizer = torch.optim.AdamW(model.selector_parameters(), lr=1e-2)
    images, labels, kept = torch.randn(16, 3, 16, 16), torch.zeros(16, dtype=torch.long), []
    for _ in range(150):
        output = model.run(images, form=TokenForm.MASKED, sample=True)
        optimizer.zero_grad()
        criterion(output, None, labels).total.backward()
        optimizer.step()
        kept.append(float(output.selections[0].keep_fraction.mean().detach()))
    assert kept[0] > 0.8
    assert sum(kept[-20:]) / 20 == pytest.approx(0.5, abs=0.08)


def test_bf16_autocast_leaves_the_term_in_float32(table: LatencyTable) -> None:
    model, at = make_model(PruningSchedule.from_keep_rates([0.5], [1])), torch.tensor([0.4321])
    surrogate = LatencySurrogate(LatencyTarget.from_table(table, 1.0), model, KIND)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = surrogate(at)
    assert torch.equal(inside, surrogate(at))


def test_target_survives_the_way_to_a_worker(table: LatencyTable) -> None:
    target = LatencyTarget.from_table(table, 3.0)
    assert LatencyTarget.model_validate(target.model_dump(mode="json")) == target


def test_weight_without_a_target_is_refused() -> None:
    config = TrialConfig.model_validate(
        {"model": {"name": "m"}, "data": {"path": "nowhere"}, "losses": {"latency": 0.5}}
    )
    with pytest.raises(ConfigError, match=r"losses\.latency = 0\.5 needs a latency table and a budget.*profile"):
        make_criterion(make_model(PruningSchedule.from_keep_rates([0.5], [1])), config)


def test_selector_that_was_not_measured_is_refused(table: LatencyTable) -> None:
    target = LatencyTarget.from_table(table, 1.0)
    with pytest.raises(ConfigError, match="what per_head selectors cost, but the latency table has multi_head, light"):
        target.selections_of(SelectorKind.PER_HEAD)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_tokens": (2, 5), "times_ms": (1.0,)}, "each of 2 token counts needs a time, but got 1"),
        ({"num_tokens": (5, 2), "times_ms": (1.0, 1.0)}, "token counts must rise"),
    ],
)
def test_curves_that_are_none_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LatencyCurve.model_validate(values)
