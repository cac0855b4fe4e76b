import pytest
import torch

from spvit.packaging import Packages, add_package, no_packages, pack, package_weights
from spvit.schedule import PackageMode


def test_a_package_is_the_weighted_mean_of_what_was_dropped() -> None:
    tokens, weights = torch.randn(2, 5, 8), torch.tensor([[0.5, 0, 0.25, 0, 0.1], [0, 0, 0, 0.3, 0]])
    package = pack(tokens, weights)
    for b in range(2):
        mean = sum(weights[b, n] * tokens[b, n] for n in range(5)) / weights[b].sum()
        torch.testing.assert_close(package.tokens[b, 0], mean)
    torch.testing.assert_close(package.mass, weights.sum(1, keepdim=True))


@pytest.mark.parametrize("scale", [1e-9, 1e-30, torch.finfo(torch.float32).tiny])
@pytest.mark.parametrize("mode", [PackageMode.SINGLE, PackageMode.PER_SELECTOR])
def test_packages_do_not_shrink_with_their_mass(scale: float, mode: PackageMode) -> None:
    tokens, weights = torch.randn(2, 6, 8), torch.tensor([1.0, 2, 3, 4, 5, 6]).expand(2, -1)
    heavy, light = (
        add_package(pack(tokens[:, :3], factor * weights[:, :3]), pack(tokens[:, 3:], factor * weights[:, 3:]), mode)
        for factor in (1.0, scale)
    )
    torch.testing.assert_close(light.tokens, heavy.tokens)
    assert (light.policy == 1).all()


@pytest.mark.parametrize("margin", [-200.0, -87.0, -60.0, -20.0])
def test_packages_of_next_to_nothing_have_finite_gradients(margin: float) -> None:
    tokens = 100 * torch.randn(2, 3, 4)
    margins = torch.full((2, 3), margin, requires_grad=True)
    dropped = torch.tensor([[1.0, 1, 0], [0, 0, 0]], requires_grad=True)
    package = pack(tokens, package_weights(torch.sigmoid(margins)) * dropped)
    merged = add_package(package, package, PackageMode.SINGLE)
    (package.tokens.square().sum() + merged.tokens.square().sum()).backward()
    assert package.policy.tolist() == [[1.0], [0.0]]
    assert margins.grad.isfinite().all()
    assert dropped.grad.isfinite().all()


def test_gradients_of_a_package_are_those_of_the_weighted_mean() -> None:
    tokens, weights = torch.randn(2, 3, 4, dtype=torch.double), torch.rand(2, 3, dtype=torch.double) + 0.1
    assert torch.autograd.gradcheck(lambda w: pack(tokens, w).tokens, weights.requires_grad_())


def test_an_image_that_drops_nothing_gets_a_package_that_nobody_sees() -> None:
    weights = torch.tensor([[0.0, 0.0], [0.5, 0.0]], requires_grad=True)
    package = pack(torch.randn(2, 2, 4), weights)
    package.tokens.sum().backward()
    assert package.policy.tolist() == [[0.0], [1.0]]
    assert torch.isfinite(package.tokens).all()
    assert torch.isfinite(weights.grad).all()


def test_single_merges_as_if_all_had_been_packed_at_once() -> None:
    tokens, weights = torch.randn(2, 9, 4), torch.rand(2, 9)
    packages = no_packages(tokens)
    for part in (slice(0, 2), slice(2, 3), slice(3, 9)):
        packages = add_package(packages, pack(tokens[:, part], weights[:, part]), PackageMode.SINGLE)
    torch.testing.assert_close(packages, pack(tokens, weights))


@pytest.mark.parametrize("mode", PackageMode)
def test_packages_have_the_precision_of_tokens_under_autocast(mode: PackageMode) -> None:
    tokens = torch.randn(2, 3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        packages = add_package(pack(tokens, torch.rand(2, 3)), pack(tokens, torch.rand(2, 3)), mode)
    assert packages.tokens.dtype is torch.float32


def test_single_keeps_its_token_where_nothing_new_is_dropped() -> None:
    old = Packages(torch.randn(1, 1, 4), torch.tensor([[0.7]]))
    merged = add_package(old, pack(torch.randn(1, 3, 4), torch.zeros(1, 3)), PackageMode.SINGLE)
    assert torch.equal(merged.tokens, old.tokens)


def test_single_that_never_held_anything_stays_unseen_and_finite() -> None:
    nothing = pack(torch.randn(1, 3, 4), torch.zeros(1, 3))
    merged = add_package(nothing, nothing, PackageMode.SINGLE)
    assert merged.policy.tolist() == [[0.0]]
    assert torch.isfinite(merged.tokens).all()


def test_every_selector_appends_its_own_package_in_order() -> None:
    first, second = (pack(torch.randn(2, 3, 4), torch.rand(2, 3)) for _ in range(2))
    both = add_package(
        add_package(no_packages(first.tokens), first, PackageMode.PER_SELECTOR), second, PackageMode.PER_SELECTOR
    )
    assert torch.equal(both.tokens, torch.cat((first.tokens, second.tokens), 1))
    assert torch.equal(both.mass, torch.cat((first.mass, second.mass), 1))


def test_none_keeps_no_package() -> None:
    tokens = torch.randn(2, 3, 4)
    assert add_package(no_packages(tokens), pack(tokens, torch.rand(2, 3)), PackageMode.NONE).tokens.shape == (2, 0, 4)
