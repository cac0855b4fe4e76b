import pytest
import torch

from trainers.config import Precision
from trainers.precision import autocast, has_fast_bfloat16, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_what_is_set_is_used(precision: Precision) -> None:
    assert resolve_precision(precision, CPU) is precision


@pytest.mark.parametrize(("is_native", "expected"), [(True, Precision.BFLOAT16), (False, Precision.FLOAT32)])
def test_auto_follows_the_device(monkeypatch: pytest.MonkeyPatch, is_native: bool, expected: Precision) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: is_native)
    assert has_fast_bfloat16(CPU) is is_native
    assert resolve_precision(Precision.AUTO, CPU) is expected


@pytest.mark.parametrize(
    ("precision", "dtype"), [(Precision.FLOAT32, torch.float32), (Precision.BFLOAT16, torch.bfloat16)]
)
def test_products_have_the_format(precision: Precision, dtype: torch.dtype) -> None:
    with autocast(precision, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is dtype


def test_no_other_device_is_taken_for_fast() -> None:
    assert not has_fast_bfloat16(torch.device("meta"))
