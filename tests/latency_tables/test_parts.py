import pytest

from latency_tables.parts import shape_of
from spvit.errors import UnsupportedModelError
from spvit.factory import create_backbone


def test_a_backbone_of_several_widths_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"3 levels of different widths.*`spvit-search fine-tune` and"):
        shape_of(create_backbone("pit_ti_224", args={"img_size": 64}))
