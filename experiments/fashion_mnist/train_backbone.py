"""Train the small Vision Transformer that the demo prunes.

    python experiments/fashion_mnist/train_backbone.py --source /usr/share/datasets/fashion-mnist

It learns from the source's 60,000 training images without those that the search validates on. The recipe was chosen
on the validation images; the test images are looked at once, at the end, for the figure in the README beside this file.
About forty minutes on one CPU core.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from make_data import read_split
from safetensors.torch import save_file

import spvit  # noqa: F401  (lets timm be imported beside a torchvision that was built for another torch)

HERE = Path(__file__).parent
MODEL = {"img_size": 28, "patch_size": 4, "in_chans": 1, "num_heads": 4, "num_classes": 10}


def training_images(source: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The source's training split without any image that equals one to validate or test on."""
    images, labels = read_split(source, "train")
    held_out = {image.tobytes() for split in ("val", "test") for image in np.load(HERE / f"{split}.npz")["images"]}
    chosen = np.array([image.tobytes() not in held_out for image in images])
    return torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen]).long()


def load_split(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    data = np.load(HERE / f"{split}.npz")
    return torch.from_numpy(data["images"]), torch.from_numpy(data["labels"]).long()


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Grey bytes (B, H, W) as floats (B, 1, H, W) in [-1, 1]."""
    return images.unsqueeze(1).float().div(127.5).sub(1.0)


def augment(images: torch.Tensor, shift: int = 2, erase: float = 0.1) -> torch.Tensor:
    """Random flips, shifts of up to two pixels, and an erased square in a tenth of the images."""
    batch, _, height, width = images.shape
    device = images.device
    flip = torch.rand(batch, 1, 1, 1, device=device) < 0.5
    images = torch.where(flip, images.flip(-1), images)
    padded = F.pad(images, [shift] * 4, value=-1.0)
    top, left = torch.randint(0, 2 * shift + 1, (2, batch, 1), device=device)
    rows = (top + torch.arange(height, device=device)).view(batch, 1, height, 1)
    columns = (left + torch.arange(width, device=device)).view(batch, 1, 1, width)
    images = padded[torch.arange(batch, device=device).view(-1, 1, 1, 1), 0, rows, columns].view_as(images)
    size = torch.randint(4, 11, (batch, 1), device=device)
    top, left = torch.randint(0, height - 4, (2, batch, 1), device=device)
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    hole = ((y >= top) & (y < top + size)).unsqueeze(2) & ((x >= left) & (x < left + size)).unsqueeze(1)
    hole &= torch.rand(batch, 1, 1, device=device) < erase
    return images.masked_fill(hole.unsqueeze(1), 0.0)


@torch.inference_mode()
def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Top-1 in percent."""
    model.eval()
    batches = zip(images.split(1000), labels.split(1000), strict=True)
    right = sum((model(normalise(x)).argmax(1) == y).sum() for x, y in batches)
    return 100.0 * float(right) / len(labels)


def train(options: argparse.Namespace, device: torch.device) -> None:
    """AdamW, one cycle, label smoothing; the running average of the weights is what is kept."""
    from timm import create_model
    from timm.utils import ModelEmaV3

    torch.manual_seed(options.seed)
    images, labels = (tensor.to(device) for tensor in training_images(options.source))
    arguments = {**MODEL, "embed_dim": options.dim, "depth": options.depth}
    model = create_model("vit_tiny_patch16_224", **arguments).to(device)
    average = ModelEmaV3(model, decay=0.999, use_warmup=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.05)
    num_steps = len(images) // options.batch_size * options.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.lr, num_steps, pct_start=0.1)
    step = 0
    for epoch in range(1, options.epochs + 1):
        model.train()
        order = torch.randperm(len(images), device=device)
        for batch in order[: len(order) // options.batch_size * options.batch_size].split(options.batch_size):
            logits = model(augment(normalise(images[batch])))
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update(model, step=step)
            step += 1
        if epoch % options.every == 0 or epoch == options.epochs:
            keep(average.module, options, {"model": arguments, "epochs": epoch, "of_epochs": options.epochs}, device)


def keep(model: torch.nn.Module, options: argparse.Namespace, facts: dict, device: torch.device) -> None:
    """Write the weights, with the accuracy that they reach, and say so."""
    report = facts | {"lr": options.lr, "batch_size": options.batch_size, "seed": options.seed}
    for split in ("val", "test") if facts["epochs"] == facts["of_epochs"] else ("val",):
        report[f"{split}_top1"] = accuracy(model, *(tensor.to(device) for tensor in load_split(split)))
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, options.output, metadata={"report": json.dumps(report)})
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB, {report}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with the four idx.gz files")
    parser.add_argument("--output", type=Path, default=HERE / "backbone.safetensors")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--every", type=int, default=2, help="epochs from one saved state to the next")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args(), torch.device("cuda" if torch.cuda.is_available() else "cpu"))


if __name__ == "__main__":
    main()
