"""CamVid in a budget of minutes by a plain loop on smp 0.6.0, as a user writes it, judged as `atrous eval` judges.

    python benchmarks/training.py [$CAMVID] [--minutes 60] [--careful] [--seed 0] [-o runs/smp]

smp.DeepLabV3Plus on tf_efficientnet_lite0 from the same ImageNet weights as ours ([demo] extra), crops of 320 x 320
from pictures scaled by 2/3 to 3/2, flips, colour jitter, batches of 8, cross-entropy, AdamW at 0.001 falling by poly
0.9 with the time that is left, two loader workers; the last weights are judged. The default is float32 and contiguous.
--careful: channels_last, and bfloat16 where the processor multiplies it. The budget is that of the training, the
imports and the test left out.

OUT gets label maps of the test split and scores.json; a row for a table is printed. Against a run of ours:

    atrous compare RUN runs/smp --data $CAMVID --split test --block 10
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from parts.timing import there
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from atrous.datasets import DataSet, Pairs, open_dataset
from atrous.encoders.weights import load_pretrained
from atrous.evaluate.evaluation import evaluate
from atrous.files import write_atomically
from atrous.io import write_mask
from atrous.sample import Sample

ENCODER, CROP, BATCH, RATE = "tf_efficientnet_lite0", 320, 8, 1e-3


class Crops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The training pictures, augmented by torchvision: image (3, 320, 320) float, labels (320, 320) int64."""

    def __init__(self, pairs: Pairs, void: int) -> None:
        self.files = [(pair.image, pair.mask) for pair in pairs.pairs]
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: void}
        self.transform = v2.Compose([
            v2.RandomChoice([v2.Resize(round(360 * scale)) for scale in np.geomspace(2 / 3, 3 / 2, 9)]),
            v2.RandomCrop(CROP, pad_if_needed=True, fill=fill),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.2, 0.2, 0.2, 0.014),
            v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        picture, mask = self.files[index]
        image = tv_tensors.Image(np.moveaxis(np.asarray(Image.open(picture).convert("RGB")), -1, 0).copy())
        image, labels = self.transform(image, tv_tensors.Mask(np.asarray(Image.open(mask))[None].copy()))
        return image, labels[0]


def has_bf16() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported()


def train(data: DataSet, void: int, minutes: float, careful: bool, seed: int) -> tuple[nn.Module, dict[str, Any]]:
    """The network after so many minutes, and what was done in them."""
    import segmentation_models_pytorch as smp

    began, budget = time.perf_counter(), 60 * minutes
    torch.manual_seed(seed)
    model = smp.DeepLabV3Plus(f"tu-{ENCODER}", encoder_weights=None, classes=len(data.labels))
    load_pretrained(model.encoder, ENCODER, 3, True)
    layout = torch.channels_last if careful else torch.contiguous_format
    model = model.to(memory_format=layout).train()
    pairs = data.splits["train"]
    loader = DataLoader(Crops(pairs, void), batch_size=BATCH, shuffle=True, num_workers=2, drop_last=True,
                        persistent_workers=True)  # fmt: skip
    criterion = nn.CrossEntropyLoss(ignore_index=void)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    steps, epoch = 0, 0
    while (left := 1 - (time.perf_counter() - began) / budget) > 0:
        for images, labels in loader:
            if (left := 1 - (time.perf_counter() - began) / budget) <= 0:
                break
            optimizer.param_groups[0]["lr"] = RATE * left**0.9
            images = images.contiguous(memory_format=layout)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=careful and has_bf16()):
                logits = model(images)
            loss = criterion(logits.float(), labels)
            loss.backward()
            optimizer.step()
            steps += 1
            if steps % 20 == 0:
                print(
                    f"step {steps}, epoch {epoch}, loss {loss.item():.3f}, {left:.0%} left", file=sys.stderr, flush=True
                )
        epoch += 1
    seconds = time.perf_counter() - began
    told = {"minutes": round(seconds / 60, 2), "steps": steps, "images_per_second": round(BATCH * steps / seconds, 2)}
    return model.eval(), told


def labeller(model: nn.Module, out: Path, data: DataSet) -> Callable[[Sample], np.ndarray]:
    """Predicts whole pictures, padded to a multiple of 16 as smp asks, and keeps each label map."""

    @torch.no_grad()
    def predict(sample: Sample) -> np.ndarray:
        image = torch.from_numpy(sample.image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        height, width = image.shape[2:]
        padded = F.pad(image, (0, -width % 16, 0, -height % 16), mode="reflect")
        labels = model(padded)[0, :, :height, :width].argmax(0).numpy().astype(np.uint8)
        assert sample.path is not None
        write_mask(out / f"{sample.path.stem}.png", labels, data.labels)
        return labels

    return predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=os.environ.get("CAMVID"))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--careful", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/smp"))
    asked = parser.parse_args()
    if not there("segmentation_models_pytorch", "segmentation-models-pytorch"):
        return
    if asked.data is None:
        print("  no data to train on: set CAMVID to the folder of CamVid (docs/data.md)")
        return
    data = open_dataset(asked.data)
    (void,) = data.labels.ignore
    model, told = train(data, void, asked.minutes, asked.careful, asked.seed)
    kind = "fp32, contiguous" if not asked.careful else f"{'bf16' if has_bf16() else 'fp32'}, channels_last"
    result = evaluate(labeller(model, asked.out, data), data.splits["test"], data.labels, "test").summary()
    write_atomically(asked.out / "scores.json", json.dumps({**told, "kind": kind, **result}, indent=1).encode())
    low, high = result["interval"] or (float("nan"),) * 2
    print("| loop | minutes | steps | images a second | test mIoU | 95 % interval |\n|---|---|---|---|---|---|")
    print(f"| smp 0.6.0 DeepLabV3+, {kind}, seed {asked.seed} | {told['minutes']:.1f} | {told['steps']} | "
          f"{told['images_per_second']:.1f} | {result['miou']:.3f} | {low:.3f} to {high:.3f} |")  # fmt: skip


if __name__ == "__main__":
    main()
