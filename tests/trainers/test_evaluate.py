"""Counts against counting by hand."""

import pytest
import torch
from torch import nn

from spvit.errors import DataError
from trainers.evaluate import evaluate


@pytest.mark.parametrize("classes", [3, 8])
def test_percentages_and_loss_equal_counting_one_by_one(classes: int):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(20, classes, generator=generator), torch.arange(20) % classes
    found = evaluate(nn.Identity(), zip(logits.split(7), labels.split(7), strict=True))
    ranks = [sorted(row.tolist(), reverse=True).index(row[y].item()) for row, y in zip(logits, labels, strict=True)]
    assert found.top1 == pytest.approx(100 * sum(rank < 1 for rank in ranks) / 20)
    assert found.top5 == pytest.approx(100 * sum(rank < min(5, classes) for rank in ranks) / 20)
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-6)
    assert found.num_images == 20


def test_model_is_evaluated_in_evaluation_mode_and_put_back():
    model = nn.Sequential(nn.Dropout(0.9)).train()
    logits, labels = torch.eye(4) * 5, torch.arange(4)
    assert evaluate(model, [(logits, labels)]).top1 == 100.0
    assert model.training


def test_no_images_is_an_error():
    with pytest.raises(DataError, match="no images to evaluate"):
        evaluate(nn.Identity(), [])
