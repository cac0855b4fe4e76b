import os
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from latency_tables.counts import first_counts, last_block_counts, selection_counts
from latency_tables.device import DeviceFingerprint
from latency_tables.drift import drift_of, sentinel
from latency_tables.health import check_table
from latency_tables.key import DType, SelectorOptions
from latency_tables.measure import Effort, measure_table
from latency_tables.parts import Parts, shape_of
from latency_tables.predict import predict, predict_dense
from latency_tables.table import LatencyTable
from latency_tables.timing import Interleaved, Samples
from spvit.errors import ConfigError, LatencyTableError
from spvit.factory import create_backbone
from spvit.options import SelectorKind
from spvit.schedule import PackageMode, PruningSchedule

NAME = "vit_tiny_patch16_224"
ROUGH = Effort(num_part_rounds=3, num_model_rounds=3)


@pytest.fixture(scope="module")
def backbone() -> VisionTransformer:
    small = {"img_size": 48, "patch_size": 8, "embed_dim": 48, "depth": 6, "num_heads": 3, "num_classes": 5}
    return create_backbone(NAME, args=small)


@pytest.fixture(scope="module")
def reports() -> list[tuple[float, str]]:
    return []


@pytest.fixture(scope="module")
def measured(backbone: VisionTransformer, reports: list[tuple[float, str]]) -> LatencyTable:
    return measure_table(
        backbone,
        name=NAME,
        batch_size=16,
        effort=ROUGH,
        other_selectors=[SelectorKind.LIGHT, SelectorKind.MULTI_HEAD],
        progress=lambda *report: reports.append(report),
    )


def test_a_table_holds_every_part(measured: LatencyTable, backbone: VisionTransformer) -> None:
    shape = shape_of(backbone)
    assert measured.shape == shape
    assert (shape.depth, shape.num_patches, shape.embed_dim, shape.num_patch_inputs) == (6, 36, 48, 192)
    assert tuple(measured.blocks) == first_counts(shape)
    assert tuple(measured.selections) == selection_counts(shape)
    assert tuple(measured.last_blocks) == last_block_counts(shape)
    assert measured.last_blocks[37].median_ms < measured.blocks[37].median_ms
    assert measured.selector_kinds == (SelectorKind.MULTI_HEAD, SelectorKind.LIGHT)
    assert tuple(measured.other_selections[SelectorKind.LIGHT]) == selection_counts(shape)
    assert measured.blocks[2].num_samples == 3
    num_curves = sum(map(len, (*measured.levels[0].other_selections.values(), measured.selections, measured.blocks)))
    assert measured.conditions.num_rows == 3 + num_curves + len(measured.last_blocks)
    assert measured.conditions.num_precise_rows == 0  # three samples are too few to judge by
    assert (measured.end_to_end.num_fitted, measured.end_to_end.num_checked) == (14, 14)


def test_a_measured_table_can_be_stored_and_is_accepted_here(measured: LatencyTable, tmp_path: Path) -> None:
    measured.save(tmp_path / "table.json")
    loaded = LatencyTable.load(tmp_path / "table.json")
    assert loaded == measured
    check_table(loaded, fingerprint=DeviceFingerprint.detect(), backbone=NAME, batch_size=16, shape=measured.shape)


def test_fewer_tokens_are_measured_and_predicted_to_be_faster(measured: LatencyTable) -> None:
    assert measured.blocks[2].median_ms < measured.blocks[37].median_ms
    strong = PruningSchedule.from_keep_rates([0.05], [1]).plan(measured.geometry)
    assert predict(measured, strong).mean_ms < predict_dense(measured).mean_ms


def test_progress_rises_to_the_end(measured: LatencyTable, reports: list[tuple[float, str]]) -> None:
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    texts = [text for _, text in reports]
    assert "preparing level 1 block, 37 tokens" in texts
    assert "preparing complete model 14 of 14" in texts
    assert texts[-1] == "checking complete models: 14 of 14 rows are precise enough"


def test_conditions_are_recorded(measured: LatencyTable) -> None:
    conditions = measured.conditions
    assert conditions.usable_cores == len(os.sched_getaffinity(0))
    assert conditions.load_average_after is not None
    assert conditions.pinned_cores == ()
    assert 0.0 < conditions.preparation_s < 60.0


def test_more_threads_than_cores_are_refused(backbone: VisionTransformer) -> None:
    num_cores = len(os.sched_getaffinity(0))
    with pytest.raises(ConfigError, match=rf"num_threads = {num_cores + 1} was set, but .* may use {num_cores} core"):
        measure_table(backbone, name=NAME, num_threads=num_cores + 1, effort=ROUGH)


def test_cores_that_it_was_pinned_to_are_in_the_table(backbone: VisionTransformer) -> None:
    core = min(os.sched_getaffinity(0))
    effort = Effort(num_part_rounds=7, num_model_rounds=1, num_models=2)
    table = measure_table(backbone, name=NAME, batch_size=16, cores={core}, effort=effort)
    assert table.conditions.pinned_cores == (core,)


def test_measuring_leaves_the_model_as_it_was(backbone: VisionTransformer) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    measure_table(backbone, name=NAME, dtype="bfloat16", effort=ROUGH)
    assert backbone.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("kind", SelectorKind)
@pytest.mark.parametrize("package", PackageMode)
def test_parts_do_what_the_model_does(backbone: VisionTransformer, package: PackageMode, kind: SelectorKind) -> None:
    options = SelectorOptions(package=package)
    parts = Parts(backbone, batch_size=2, dtype=DType.FLOAT32, device="cpu", selector=options)
    with torch.inference_mode():
        kept = parts.selections([11], kind)[11]()().tokens  # type: ignore[attr-defined]
        assert kept.shape == (2, 1 + 7 + (package is not PackageMode.NONE), 48)
        assert parts.block(5)().shape == (2, 5, 48)  # type: ignore[attr-defined]
        assert parts.head()().shape == parts.dense()().shape == (2, 5)  # type: ignore[attr-defined]


def test_blocks_rotate_through_the_models_weights(backbone: VisionTransformer) -> None:
    parts = Parts(backbone, batch_size=1, dtype=DType.FLOAT32, device="cpu", selector=SelectorOptions())
    work = parts.block(4)
    with torch.inference_mode():
        first, second, *_, again = [work() for _ in range(7)]
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, second)  # type: ignore[arg-type]


def test_a_model_with_one_patch_cannot_be_pruned() -> None:
    one = create_backbone(NAME, args={"img_size": 8, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3})
    with pytest.raises(LatencyTableError, match="has 1 patches in 1 blocks, too few to prune"):
        measure_table(one, name=NAME, effort=ROUGH)


def test_the_sentinel_gives_an_interval(measured: LatencyTable, backbone: VisionTransformer) -> None:
    ratio = sentinel(measured, backbone, num_rounds=3).ratio
    assert 0.0 < ratio.low <= ratio.median <= ratio.high
    assert ratio.num_samples == 9


@pytest.mark.parametrize(
    ("slowness", "warning"), [(1.0, None), (1.1, None), (1.5, "1.50 times as long"), (0.5, "0.50 times")]
)
def test_drift_is_warned_of_only_beyond_the_tolerance(
    measured: LatencyTable, slowness: float, warning: str | None
) -> None:
    seconds = {count: measured.blocks[count].median_ms * slowness / 1000.0 for count in (2, 37)}
    samples = {str(count): Samples(seconds=(time,) * 5, ratios=(1.0,) * 5) for count, time in seconds.items()}
    drift = drift_of(measured, Interleaved(workloads=samples, reference_seconds=(1.0,)))
    assert drift.ratio.median == pytest.approx(slowness)
    text = drift.warning(tolerance=0.15)
    assert text is None if warning is None else warning in str(text)


@pytest.fixture(scope="module")
def pit_table() -> LatencyTable:
    pit = create_backbone("pit_ti_224", args={"img_size": 48, "num_classes": 5, "base_dims": (8, 8, 8)})
    return measure_table(pit, name="pit_ti_224", effort=ROUGH, other_selectors=[SelectorKind.LIGHT])


def test_a_pits_table_has_rows_for_every_level(pit_table: LatencyTable) -> None:
    shape = pit_table.shape
    assert [level.num_patches for level in shape.levels] == [25, 9, 4]
    for number, rows in enumerate(pit_table.levels):
        assert tuple(rows.blocks) == first_counts(shape, number)
        assert tuple(rows.selections) == selection_counts(shape, number)
        assert tuple(rows.other_selections[SelectorKind.LIGHT]) == selection_counts(shape, number)
    assert pit_table.pooling is not None
    assert pit_table.pooling.num_samples == 3
    assert not pit_table.last_blocks


def test_a_pits_table_is_stored_and_prices_its_schedules(pit_table: LatencyTable, tmp_path: Path) -> None:
    pit_table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == pit_table
    plan = PruningSchedule.from_keep_rates([0.5, 0.4, 0.3], [1, 3, 9]).plan(pit_table.geometry)
    assert {pit_table.geometry.level_of(selection.block) for selection in plan.selections} == {0, 1, 2}
    assert 0.0 < predict(pit_table, plan).mean_ms < float("inf")


def test_a_level_of_one_patch_has_no_selections() -> None:
    pit = create_backbone("pit_ti_224", args={"img_size": 32, "num_classes": 5, "base_dims": (8, 8, 8)})
    table = measure_table(pit, name="pit_ti_224", effort=ROUGH)
    assert [level.num_patches for level in table.shape.levels] == [9, 4, 1]
    assert [bool(rows.selections) for rows in table.levels] == [True, True, False]
    plan = PruningSchedule.from_keep_rates([0.5, 0.5], [1, 9]).plan(table.geometry)
    assert [selection.block for selection in plan.selections] == [1]
    assert predict(table, plan).mean_ms > 0.0
