"""Workers meet at a free port of one address, share what the first one holds, and notice who is gone."""

import os
import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from processes import meet, run_together

from spvit.errors import ConfigError, DivergedError
from trainers.process_group import (
    Backend,
    Host,
    abort,
    backend_for,
    check_own_gpus,
    is_loss_of_contact,
    join,
    leave,
    with_number,
)
from trainers.workers import WorkerGroup

CPU = torch.device("cpu")
STATE = {"weights": {"a": torch.arange(6.0).view(2, 3)}, "history": [{"epoch": 1, "top1": 50.5}], "none": None}


def work(rank: int, folder: str) -> None:
    for name in ("first", "second"):  # one trial after the other
        meet(rank, Path(folder), name)
        group = WorkerGroup.current()
        got = group.from_main(STATE if rank == 0 else None)
        assert got is not None
        assert torch.equal(got["weights"]["a"], STATE["weights"]["a"])
        assert {key: got[key] for key in ("history", "none")} == {"history": STATE["history"], "none": None}
        assert group.from_main(None if rank == 0 else STATE) is None
        assert group.share_of_batch(8) == 4
        with pytest.raises(ConfigError, match=r"training\.batch_size = 7 images are shared equally by 2 workers"):
            group.share_of_batch(7)
        leave()
        assert not dist.is_initialized()
    meet(rank, Path(folder), "third")
    if rank == 1:
        os._exit(0)  # without a word to anybody
    with pytest.raises(RuntimeError) as failure:
        WorkerGroup.current().barrier()
    assert is_loss_of_contact(failure.value)
    leave()
    (Path(folder) / "noticed").touch()


def test_workers_meet_share_and_part(tmp_path: Path) -> None:
    run_together(work, str(tmp_path))
    assert (tmp_path / "noticed").exists()


@pytest.mark.parametrize(
    "error",
    [
        DivergedError("The loss must be finite"),
        MemoryError(),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        torch.OutOfMemoryError("CUDA out of memory"),
        OSError("[Errno 28] No space left on device"),
    ],
)
def test_what_a_worker_does_wrong_is_no_loss_of_contact(error: Exception) -> None:
    assert not is_loss_of_contact(error)


@pytest.mark.parametrize(
    ("device", "backend"), [("cpu", Backend.GLOO), ("cuda", Backend.NCCL), ("cuda:1", Backend.NCCL)]
)
def test_the_device_decides_how_workers_talk(device: str, backend: Backend) -> None:
    assert backend_for(torch.device(device)) is backend


def test_a_gpu_has_a_number() -> None:
    assert with_number(torch.device("cuda"), 2) == torch.device("cuda:2")
    assert with_number(torch.device("cuda:1"), 2) == torch.device("cuda:1")


def test_workers_on_one_gpu_are_refused() -> None:
    check_own_gpus(["GPU-a", "GPU-b"])
    with pytest.raises(ConfigError, match=r"workers 1 and 2 .* same GPU.*trial\.resources_per_worker\.gpus = 1"):
        check_own_gpus(["GPU-a", "GPU-b", "GPU-b"])


def test_whoever_goes_on_in_a_group_that_was_ended_lost_contact() -> None:
    with pytest.raises(ValueError, match="has not been initialized") as failure:
        dist.barrier()
    assert is_loss_of_contact(failure.value)
    assert not is_loss_of_contact(ValueError("A rate must lie in [0, 1]"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("error")
def test_a_group_on_a_gpu_is_bound_to_it_and_can_be_aborted() -> None:
    host = Host("127.0.0.1", 1)
    join(host.meeting, 0, address="127.0.0.1", device=torch.device("cuda"), host=host)
    assert dist.get_backend() == Backend.NCCL
    dist.barrier()
    abort()
    assert not dist.is_initialized()


def test_alone_there_is_nobody_to_leave() -> None:
    leave()
    abort()
    assert WorkerGroup.single().from_main(STATE) is STATE


class Evil:
    """Something that is code when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("false",)


def test_code_is_not_read_from_a_group() -> None:
    from trainers.workers import _packed, _unpacked

    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        _unpacked(_packed({"state": Evil()}))
