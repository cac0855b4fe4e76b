"""Orders are permutations, repeatable, different from epoch to epoch, and fair to classes and workers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from timm.data.distributed_sampler import RepeatAugSampler

from trainers.sampling import Purpose, epoch_order, repeated_order, stream, worker_share

LABEL_LISTS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(labels=LABEL_LISTS, seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_whole_epoch_is_a_repeatable_permutation(labels: list[int], seed: int, epoch: int):
    order = epoch_order(np.array(labels), seed=seed, epoch=epoch)
    assert sorted(order) == list(range(len(labels)))
    assert (order == epoch_order(np.array(labels), seed=seed, epoch=epoch)).all()


@given(labels=LABEL_LISTS, epoch=st.integers(0, 9), data=st.data())
def test_subset_keeps_the_shares_of_classes_to_one_image(labels: list[int], epoch: int, data: st.DataObject):
    wanted = data.draw(st.integers(1, len(labels)))
    chosen = epoch_order(np.array(labels), seed=0, epoch=epoch, num_images=wanted)
    assert len(set(chosen.tolist())) == wanted
    for label in set(labels):
        exact = labels.count(label) * wanted / len(labels)
        assert abs(sum(labels[n] == label for n in chosen) - exact) <= len(set(labels))


def test_epochs_draw_different_subsets():
    labels = np.zeros(1000, dtype=np.int64)
    first, second = (set(epoch_order(labels, seed=0, epoch=e, num_images=500).tolist()) for e in (0, 1))
    assert 200 < len(first & second) < 300


def test_purposes_have_streams_of_their_own():
    draws = [stream(0, purpose, 0).random() for purpose in Purpose]
    assert len(set(draws)) == len(draws)


@given(count=st.integers(1, 200), world=st.integers(1, 4), batch=st.integers(1, 32))
def test_workers_share_evaluation_without_loss_and_training_evenly(count: int, world: int, batch: int):
    order = np.arange(count)

    def shares(*, training: bool) -> list[list[np.ndarray]]:
        return [
            worker_share(order, rank=r, world_size=world, batch_size=batch, training=training) for r in range(world)
        ]

    seen = np.concatenate([numbers for share in shares(training=False) for numbers in share])
    assert sorted(seen) == list(range(count))
    assert len({tuple(len(numbers) for numbers in share) for share in shares(training=True)}) == 1


@given(
    count=st.one_of(st.integers(12, 300), st.integers(500, 1100)),
    repeats=st.integers(1, 4),
    world=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_repetitions_are_dealt_as_timm_deals_them(count: int, repeats: int, world: int, epoch: int):
    labels = np.arange(count) % 3
    order = repeated_order(labels, seed=0, epoch=epoch, num_repeats=repeats)
    shares = [
        np.concatenate(worker_share(order, rank=r, world_size=world, batch_size=1, training=True)) for r in range(world)
    ]
    timms = [RepeatAugSampler(range(count), world, rank, num_repeats=repeats) for rank in range(world)]
    for sampler in timms:
        sampler.set_epoch(epoch)
    if repeats > 1 and count >= 256:  # with fewer images timm rounds up where there are several workers
        assert [len(share) for share in shares] == [len(list(sampler)) for sampler in timms]
        ours, theirs = ([same_places(list(one)) for one in each] for each in (shares, timms))
        assert ours == theirs
    assert max(np.bincount(order)) <= repeats
    assert len(set(order.tolist())) == -(-len(order) // repeats)


def same_places(numbers: list[int]) -> list[int]:
    """Which places of a list hold the same image, whichever image it is."""
    first = {}
    return [first.setdefault(int(number), len(first)) for number in numbers]


@given(labels=LABEL_LISTS, repeats=st.integers(2, 4), wanted=st.integers(1, 60))
def test_repeated_epochs_are_as_long_as_asked_for(labels: list[int], repeats: int, wanted: int):
    order = repeated_order(np.array(labels), seed=1, epoch=2, num_repeats=repeats, num_images=wanted)
    assert len(order) == min(wanted, len(labels))
    assert (order == repeated_order(np.array(labels), seed=1, epoch=2, num_repeats=repeats, num_images=wanted)).all()
