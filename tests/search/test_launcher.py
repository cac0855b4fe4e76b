import tabulated

from search.launcher import note_dense_top1
from search.study import read_study


def test_the_dense_model_is_evaluated_once_per_study(tmp_path):
    config = tabulated.experiment(tmp_path)
    note_dense_top1(tabulated.make_store(config), lambda: None)
    assert read_study(tmp_path / "toy").dense_top1 is None
    note_dense_top1(tabulated.make_store(config), lambda: 81.5)
    note_dense_top1(tabulated.make_store(config), lambda: 99.0)
    assert read_study(tmp_path / "toy").dense_top1 == 81.5
