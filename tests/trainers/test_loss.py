"""One step's loss: what is shared between student and teacher changes nothing, nor does the number of workers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_as_group
from torch import Tensor

from spvit.factory import create_backbone
from spvit.losses import keep_ratio_loss
from spvit.model import PrunedViT
from spvit.options import TokenForm
from spvit.schedule import PruningSchedule
from trainers.calibration import calibrate_margins
from trainers.config import LossWeights, TrialConfig
from trainers.frozen_part import leading_modules
from trainers.loss import Criterion, LossTerms, TrainingStep, make_criterion, weighted_mean
from trainers.optim import set_frozen
from trainers.teacher import Teacher, make_teacher
from trainers.workers import WorkerGroup

ARGS = {
    "img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 4, "num_heads": 3, "num_classes": 4,
    "pos_drop_rate": 0.3, "proj_drop_rate": 0.3, "drop_path_rate": 0.3,
}  # fmt: skip
QUIET = {key: value for key, value in ARGS.items() if "drop" not in key}
IMAGES, LABELS = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5)), torch.arange(8) % 4


def make_model(args: dict[str, Any] = QUIET) -> PrunedViT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        schedule = PruningSchedule.from_keep_rates([0.6, 0.3], [2, 3])
        model = PrunedViT(create_backbone("vit_tiny_patch16_224", args=args), schedule)
    with torch.no_grad():
        for parameter in model.selector_parameters():
            parameter.mul_(4.0)  # so that images differ in how much of them is kept
    calibrate_margins(model, IMAGES)
    return model


def make_config(losses: dict[str, Any] | None = None, **training: Any) -> TrialConfig:
    values = {"noise_scale": 0.0, "freeze_epochs": 0, **training}
    return TrialConfig.model_validate(
        {"model": {"name": "m"}, "data": {"path": "nowhere"}, "training": values, "losses": losses or {}}
    )


def make_step(model: PrunedViT, config: TrialConfig, *, epoch: int = 0) -> TrainingStep:
    teacher = make_teacher(model, config, needed=config.losses.needs_teacher)
    set_frozen(model, config.training, epoch=epoch)
    return TrainingStep(model, teacher, make_criterion(model, config), config).train()


def gradients(model: PrunedViT) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class Unshared(TrainingStep):
    """Student and teacher see the images for themselves."""

    def leading_tokens(self, images: Tensor) -> Tensor | None:
        return None


@pytest.mark.parametrize("form", [TokenForm.GATHERED, TokenForm.MASKED])
@pytest.mark.parametrize(
    "training", [{}, {"freeze_leading": False, "freeze_epochs": 1}, {"backbone_lr_scale": 0.0, "freeze_leading": False}]
)
def test_shared_leading_blocks_change_no_result(form: TokenForm, training: dict[str, Any]) -> None:
    losses, grads = [], []
    for cls in (TrainingStep, Unshared):
        model, config = make_model(), make_config(form=form, **training)
        step = make_step(model, config)
        step.__class__ = cls
        torch.manual_seed(1)
        loss = step(IMAGES, LABELS)
        loss.total.backward()
        losses.append(loss.detached())
        grads.append(gradients(model))
    assert step.teacher is not None
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-7)
    assert grads[0].keys() == grads[1].keys()
    for name, gradient in grads[0].items():
        torch.testing.assert_close(gradient, grads[1][name], rtol=1e-5, atol=1e-7, msg=name)


def test_leading_tokens_have_no_graph_while_they_are_frozen() -> None:
    step = make_step(make_model(), make_config())
    tokens = step.leading_tokens(IMAGES)
    assert tokens is not None
    assert tokens.grad_fn is None
    assert not tokens.requires_grad
    thawed = make_step(make_model(), make_config(freeze_leading=False))
    assert thawed.leading_tokens(IMAGES) is None


def test_frozen_part_stands_still_while_the_rest_drops_out() -> None:
    model = make_model(ARGS)
    step = make_step(model, make_config())
    first, second = step.leading_tokens(IMAGES), step.leading_tokens(IMAGES)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)
    assert not any(module.training for part in leading_modules(model) for module in part.modules())
    assert model.backbone.blocks[2].training
    assert not make_step(make_model(ARGS), make_config(freeze_epochs=1)).student.backbone.blocks[2].training


def test_teacher_keeps_its_own_copy_of_what_is_trained_only() -> None:
    model = make_model()
    own = {name for name, p in make_teacher_of(model).backbone.named_parameters() if id(p) not in ids(model)}
    assert {name.split(".")[1] for name in own if name.startswith("blocks.")} == {"2", "3"}
    assert {"norm.weight", "head.weight"} <= own
    assert not {"cls_token", "pos_embed", "patch_embed.proj.weight"} & own
    assert make_teacher_of(model, backbone_lr_scale=0.0).backbone is model.backbone
    whole = make_teacher_of(model, freeze_leading=False)
    assert not ids(whole) & ids(model)


def make_teacher_of(model: PrunedViT, **training: Any) -> Teacher:
    return Teacher(model, make_config(**training).training)


def ids(module: torch.nn.Module) -> set[int]:
    return {id(p) for p in module.parameters()}


def test_teacher_stays_what_it_was() -> None:
    model, config = make_model(), make_config(lr=1e-2, backbone_lr_scale=1.0)
    step = make_step(model, config)
    before = step.teacher(IMAGES).logits
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        step(IMAGES, LABELS).total.backward()
        optimizer.step()
    assert torch.equal(step.teacher(IMAGES).logits, before)
    torch.testing.assert_close(step.teacher(IMAGES, step.leading_tokens(IMAGES)).logits, before)


def test_terms_without_weight_are_not_computed() -> None:
    losses = {"ratio": 0.0, "distillation": 0.0, "token_distillation": 0.0}
    loss = make_step(make_model(), make_config(losses))(IMAGES, LABELS)
    assert loss.names == ("total", "classification")
    assert torch.equal(loss.total, loss.terms["classification"])


def test_weights_and_forms_of_terms_reach_the_total() -> None:
    losses = {"classification": 0.5, "ratio": 3.0, "distillation": 2.0, "token_distillation": 4.0}

    def loss_with(change: dict[str, Any]) -> LossTerms:
        return make_step(make_model(), make_config(losses | change))(IMAGES[4:], LABELS[4:])

    plain = loss_with({})
    expected = sum(losses[name] * term for name, term in plain.terms.items())
    torch.testing.assert_close(plain.total, expected)
    for change in ({"ratio_per_image": True}, {"ratio_hinge": True}, {"distillation_temperature": 4.0}):
        changed = loss_with(change)
        name = "distillation" if "distillation_temperature" in change else "ratio"
        differs = {key for key in plain.terms if not torch.equal(plain.terms[key], changed.terms[key])}
        assert differs == {name}, change


def test_ratio_of_one_worker_is_the_loss_over_the_batch() -> None:
    output = make_model().run(IMAGES, sample=True, noise_scale=0.0)
    fractions = [selection.keep_fraction for selection in output.selections]
    targets = [selection.target_keep_rate for selection in output.selections]
    for options in ({}, {"ratio_per_image": True}, {"ratio_hinge": True}):
        criterion = Criterion(LossWeights(**options))
        expected = keep_ratio_loss(
            fractions,
            targets,
            per_image=options.get("ratio_per_image", False),
            hinge=options.get("ratio_hinge", False),
        )
        torch.testing.assert_close(criterion(output, None, LABELS).terms["ratio"], expected)


def test_mean_of_parts_is_weighted() -> None:
    def terms(value: float) -> LossTerms:
        return LossTerms(total=torch.tensor(2 * value), terms={"classification": torch.tensor(value)})

    mean = weighted_mean([(0.75, terms(1.0)), (0.25, terms(5.0))])
    assert mean.detached().tolist() == [4.0, 2.0]


RATIO_ALONE = {"classification": 0.5, "distillation": 0.0, "token_distillation": 0.0, "ratio": 3.0}


def ratio_work(group: WorkerGroup, directory: str) -> None:
    model, config = make_model(), make_config(RATIO_ALONE)
    set_frozen(model, config.training, epoch=0)
    teacher = make_teacher(model, config, needed=False)
    step = TrainingStep(model, teacher, make_criterion(model, config, group), config).train()
    wrapped = group.wrap(step)  # averages gradients as long as it lives
    share = slice(4 * group.rank, 4 * group.rank + 4)
    loss = wrapped(IMAGES[share], LABELS[share])
    loss.total.backward()
    if group.is_main:
        torch.save({"ratio": loss.terms["ratio"].detach(), "grads": gradients(model)}, Path(directory) / "found.pt")


def test_ratio_of_two_workers_is_that_of_one_with_all_images(tmp_path: Path) -> None:
    run_as_group(ratio_work, str(tmp_path))
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    model = make_model()
    loss = make_step(model, make_config(RATIO_ALONE))(IMAGES, LABELS)
    loss.total.backward()
    torch.testing.assert_close(found["ratio"], loss.terms["ratio"].detach(), rtol=1e-6, atol=1e-8)
    own = keep_ratio_of(slice(4)), keep_ratio_of(slice(4, 8))
    assert abs(loss.terms["ratio"].item() - sum(own) / 2) > 1e-4  # averaging each worker's own term would be another
    expected = gradients(model)
    assert found["grads"].keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found["grads"][name], gradient, rtol=1e-5, atol=1e-7)


def keep_ratio_of(share: slice) -> float:
    return make_step(make_model(), make_config(RATIO_ALONE))(IMAGES[share], LABELS[share]).terms["ratio"].item()
