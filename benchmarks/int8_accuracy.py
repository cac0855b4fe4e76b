"""What int8 does to answers: top-1 of the demo's trained backbone, and agreement with float32 on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from engines import Engine, logits_of, runner
from inference_networks import BLOCKS, images_for
from torch import Tensor, nn

from search.experiment import load_experiment
from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import SelectorKind
from spvit.schedule import PruningSchedule
from trainers.data import Loading, Split, open_split
from trainers.preprocessing import preprocessing_of

DEMO = Path(__file__).parents[1] / "experiments" / "demo.toml"
BATCH_SIZE = 100
NUM_RANDOM_IMAGES = 64


def demo_rows(num_images: int) -> list[dict[str, Any]]:
    """Top-1 of float32 and int8 on validation images: the dense model, and pruned by its own class attention.

    The demo's selectors are not trained here; class attention has nothing to learn.
    """
    config = load_experiment(DEMO)
    backbone: Any = create_backbone(config.model.name, args=config.model.args, checkpoint=config.model.checkpoint)
    schedule = PruningSchedule.from_base_rate(config.pruning.base_keep_rate, config.pruning.blocks)
    pruned = PrunedViT(backbone, schedule, selector=SelectorKind.CLASS_ATTENTION)
    images, labels = _validation(config, backbone, num_images)
    models = {"dense": backbone.eval(), "pruned by class attention": pruned.eval()}
    return [{"model": f"demo, {name}"} | _compared(model, images, labels) for name, model in models.items()]


def random_row(name: str, keep_rate: float) -> dict[str, Any]:
    """Float32 against int8 on random weights and random images, where top-1 says nothing: how far logits differ."""
    torch.manual_seed(0)
    backbone = create_backbone(name).eval()
    model = PrunedViT(backbone, PruningSchedule.from_base_rate(keep_rate, BLOCKS)).eval()
    images = images_for(backbone, NUM_RANDOM_IMAGES)
    return {"model": f"{name}, random weights"} | _compared(model, images, None, batch_size=1)


def to_text(row: dict[str, Any]) -> str:
    top1 = f"top-1 float32 {row['fp32_top1']:.2f} %, int8 {row['int8_top1']:.2f} %, " if "fp32_top1" in row else ""
    return (
        f"  {row['model']}: {top1}same answer for {row['agreement']:.1f} % of {row['num_images']} images, "
        f"logits differ by {row['logit_difference']:.3f} of their spread"
    )


def _validation(config: Any, backbone: Any, num_images: int) -> tuple[Tensor, Tensor]:
    loading = Loading(batch_size=num_images, training=False)
    return next(iter(open_split(config.data, Split.VAL, preprocessing_of(backbone), loading).epoch(0)))


def _compared(model: nn.Module, images: Tensor, labels: Tensor | None, batch_size: int = BATCH_SIZE) -> dict[str, Any]:
    first = images[:batch_size]
    exact, rough = (
        logits_of(runner(engine, model, first), images, batch_size) for engine in (Engine.EAGER, Engine.ONNX_INT8)
    )
    row = {
        "num_images": len(images),
        "agreement": _percent(exact.argmax(1) == rough.argmax(1)),
        "logit_difference": float((exact - rough).std() / exact.std()),
    }
    if labels is not None:
        row |= {name: _percent(x.argmax(1) == labels) for name, x in (("fp32_top1", exact), ("int8_top1", rough))}
    return row


def _percent(hits: Tensor) -> float:
    return 100.0 * float(hits.float().mean())
