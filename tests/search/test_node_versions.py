import re

import pytest

from search.code_identity import PRODUCT, code_hash, versions_here
from search.node_versions import NodeVersions, _look, _marked, complain_of_disks, complain_of_skew
from spvit.errors import ClusterError, ExitCode

OURS = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0", PRODUCT: "code abc"}


def _node(name="n1", **changes):
    return NodeVersions(
        node=name, versions={**OURS, **{key.replace("_", "-"): value for key, value in changes.items()}}
    )


def test_equal_machines_are_fine():
    complain_of_skew("head:6379", OURS, [_node("n1"), _node("n2")])


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_difference_names_the_machine_and_both_versions(name):
    other = NodeVersions(node="n2", versions={**OURS, name: "9.9"})
    with pytest.raises(ClusterError, match=re.escape(f"node n2: {name} 9.9 there, {OURS[name]} here")) as caught:
        complain_of_skew("head:6379", OURS, [_node(), other])
    assert caught.value.exit_code is ExitCode.CLUSTER
    assert "n1" not in str(caught.value)


def test_a_machine_without_the_product_is_named():
    mute = NodeVersions(node="n2", versions={}, problem="spvit-search is not installed there")
    with pytest.raises(ClusterError, match="node n2: cannot say what it has: spvit-search is not installed there"):
        complain_of_skew("head:6379", OURS, [mute])


def test_many_differences_stay_within_ten_lines():
    nodes = [NodeVersions(node=f"n{i}", versions={}) for i in range(20)]
    with pytest.raises(ClusterError) as caught:
        complain_of_skew("head:6379", OURS, nodes)
    assert len(str(caught.value).splitlines()) <= 10


def test_a_machine_with_another_disk_is_named(tmp_path):
    blind = NodeVersions(node="n2", versions=OURS, sees_folder=False)
    with pytest.raises(ClusterError, match=r"n2 cannot see that folder.*study\.checkpoints"):
        complain_of_disks("head:6379", tmp_path, [_node(), blind])
    complain_of_disks("head:6379", tmp_path, [_node()])


def test_a_machine_looks_for_the_very_file(tmp_path):
    with _marked(tmp_path) as mark:
        assert _look(mark)[1]
        assert not _look(str(tmp_path / "elsewhere" / "x"))[1]
    assert not _look(mark)[1]
    assert _look(None)[1]
    assert list(tmp_path.iterdir()) == []


def test_versions_here_are_complete_and_the_codes_hash_is_stable():
    here = versions_here()
    assert set(here) == set(OURS)
    assert here[PRODUCT] == f"code {code_hash()[:12]}"
