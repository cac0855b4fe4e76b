"""A group of one changes nothing; a group of two computes what one would on both shares."""

from pathlib import Path

import pytest
import torch
from processes import run_as_group

from trainers.evaluate import evaluate
from trainers.workers import WorkerGroup


def test_single_is_the_identity():
    group = WorkerGroup.single()
    tensor, module = torch.ones(3), torch.nn.Linear(2, 2)
    assert group.is_main
    assert group.all_reduce_mean(tensor) is tensor
    assert group.all_reduce_sum(tensor) is tensor
    assert group.wrap(module) is module
    group.barrier()
    assert WorkerGroup.current() == group


@pytest.mark.parametrize(("rank", "world_size"), [(1, 1), (-1, 2)])
def test_rank_lies_in_the_group(rank: int, world_size: int):
    with pytest.raises(ValueError, match="rank must lie in"):
        WorkerGroup(rank=rank, world_size=world_size)


def test_group_needs_a_connection():
    with pytest.raises(ValueError, match="init_process_group"):
        WorkerGroup(rank=0, world_size=2)


def batch(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(6, 4, generator=generator), torch.randint(0, 3, (6,), generator=generator)


def make_module() -> torch.nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(4, 3)


def work(group: WorkerGroup, directory: str) -> None:
    module = make_module()
    inputs, labels = batch(group.rank)
    wrapped = group.wrap(module)
    torch.nn.functional.cross_entropy(wrapped(inputs), labels).backward()
    evaluation = evaluate(module, [(inputs, labels)], workers=group)
    mean = group.all_reduce_mean(torch.tensor(float(group.rank)))
    if group.is_main:
        found = {"grad": module.weight.grad, "top1": evaluation.top1, "count": evaluation.num_images, "mean": mean}
        torch.save(found, Path(directory) / "found.pt")


def test_two_workers_equal_one_on_both_shares(tmp_path: Path):
    run_as_group(work, str(tmp_path))
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    module = make_module()
    inputs, labels = (torch.cat(parts) for parts in zip(batch(0), batch(1), strict=True))
    torch.nn.functional.cross_entropy(module(inputs), labels).backward()
    assert torch.allclose(found["grad"], module.weight.grad, atol=1e-6)
    assert found["top1"] == pytest.approx(evaluate(module, [(inputs, labels)]).top1)
    assert found["count"] == 12
    assert float(found["mean"]) == 0.5
