from hypothesis import given
from hypothesis import strategies as st

from latency_tables.counts import block_counts, selection_counts
from latency_tables.key import BackboneShape


def shape(num_patches: int, num_prefix_tokens: int = 1) -> BackboneShape:
    return BackboneShape(
        depth=12,
        num_patches=num_patches,
        num_prefix_tokens=num_prefix_tokens,
        embed_dim=192,
        num_heads=3,
        mlp_ratio=4.0,
        num_patch_inputs=768,
        num_classes=1000,
    )


def test_edges_and_middles_of_tiles_are_measured() -> None:
    assert block_counts(shape(49)) == (2, 8, 15, 16, 24, 31, 32, 40, 47, 48, 50)
    assert selection_counts(shape(49)) == (3, 19, 34, 50)


@given(num_patches=st.integers(2, 5000), num_prefix_tokens=st.integers(1, 5))
def test_counts_rise_from_the_smallest_plan_to_the_dense_model(num_patches: int, num_prefix_tokens: int) -> None:
    sizes = shape(num_patches, num_prefix_tokens)
    for counts, smallest in (
        (block_counts(sizes), sizes.smallest_num_tokens),
        (selection_counts(sizes), sizes.smallest_selection),
    ):
        assert list(counts) == sorted(set(counts))
        assert counts[0] <= smallest
        assert counts[-1] == sizes.geometry.num_tokens
        assert 2 <= len(counts) <= 64
