import struct

from search.plot_data import PointKind, plot_data
from search.plots import STYLES, draw_front


def test_picture_is_a_png_that_a_page_can_show(study, tmp_path):
    draw_front(plot_data(study), tmp_path / "new" / "front.png")
    content = (tmp_path / "new" / "front.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content.startswith(b"\x89PNG")
    assert (width, height) == (1200, 750)


def test_every_kind_has_a_colour_and_shape_of_its_own():
    assert set(STYLES) == set(PointKind)
    assert len({style["color"] for style in STYLES.values()}) == len(PointKind)
