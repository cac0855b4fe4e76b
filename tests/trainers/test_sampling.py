"""Orders are permutations, repeatable, different from epoch to epoch, and fair to classes and workers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainers.sampling import Purpose, epoch_order, stream, worker_share

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
