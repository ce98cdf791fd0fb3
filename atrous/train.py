"""The training loop, readable top to bottom.

A run is a folder. `recipe.toml` decides everything and is complete before step 1; the batch of a step is a pure
function of (seed, step), and so are its dropout masks and learning rate: a run that was killed anywhere and started
again ends in the same tensors, bit for bit, as one that was not.
"""

import copy
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn

from atrous.batches import Transform, batches, name_of
from atrous.bundle import save_bundle
from atrous.datasets import DataSet, Pairs
from atrous.errors import AtrousError, RecipeError
from atrous.evaluate import evaluate
from atrous.loggers import Bar, JsonLines
from atrous.losses import make_loss
from atrous.measure import FABRIC_PRECISION, keep_freed_memory, settle
from atrous.predict import Predictor
from atrous.recipe import Recipe
from atrous.run import Run, build, check_same, keep_best, known, load_weights, make_card, resume, save
from atrous.sample import Sample

T = TypeVar("T")
SAVE_EVERY = 60.0
"""Seconds between checkpoints; one is also written before every validation."""
STARVED = 0.1
"""Share of the time that the network may wait for pictures before advice is given."""


class Interrupted(AtrousError):
    """Training was asked to stop (Ctrl-C, SIGTERM); everything is saved."""


def train(
    draft: Recipe,
    data: DataSet,
    folder: Path,
    *,
    workers: int = 0,
    transform: Transform | None = None,
    console: Console | None = None,
) -> Path:
    """Train by the recipe in `folder` (from `draft` when it holds none yet); returns the bundle's path.

    transform: of torchvision v2, applied to every augmented crop (`batches.transformed`).
    The same call again resumes from the newest whole checkpoint; a finished run is left as it is.
    Raises Interrupted after saving when a stop was asked for, AtrousError when the loss is not finite.
    """
    console, began = console or Console(quiet=True), time.perf_counter()
    keep_freed_memory()
    bundle, saved = folder / "model.safetensors", folder / "recipe.toml"
    draft = draft.model_copy(update={"transform": name_of(transform) if transform else None})
    recipe = Recipe.load(saved) if saved.exists() else draft
    check_same(recipe, draft, folder)
    if recipe.transform and not transform:
        raise RecipeError(f"{folder} was trained with a transform given from Python, {recipe.transform}; give it again")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fresh = not saved.exists()
    run = build(recipe, data, folder, pretrained=fresh)
    if fresh:
        validation = _validation_seconds(run, device) if recipe.steps is None else 0.0
        recipe = settle(
            recipe,
            run.objective,
            data.splits["train"],
            device=device,
            workers=workers,
            began=began,
            validation=validation,
            transform=transform,
        )
        run.recipe = recipe
        run.card = make_card(recipe, data)
        save(run)  # the initial weights, so that a resumed run needs no download and no random state
        recipe.save(saved)
    assert recipe.precision is not None
    torch.use_deterministic_algorithms(True, warn_only=True)
    fabric = Fabric(accelerator=device.type, devices=1, precision=FABRIC_PRECISION[recipe.precision])  # type: ignore[arg-type]
    resume(run, console)
    if run.step == recipe.steps and run.validated == recipe.steps and bundle.exists():
        console.print(f"{folder} is finished ({recipe.steps} steps): {bundle}")
        return bundle
    console.print(f"{recipe.steps} steps of {recipe.batch} x {recipe.crop[0]}x{recipe.crop[1]}, {recipe.precision}"
                  f"{', channels_last' if recipe.channels_last else ''}, on {device}")  # fmt: skip
    with Stop() as stop:
        loop(run, fabric, stop, workers, console, transform)
    best = load_weights(folder / "checkpoints" / "best.safetensors", run)
    save_bundle(bundle, best, run.card)
    return bundle


def loop(
    run: Run, fabric: Fabric, stop: "Stop", workers: int, console: Console, transform: Transform | None = None
) -> None:
    """All steps that are left, with a validation every `validate_every` steps and after the last."""
    recipe, steps, every = run.recipe, known(run.recipe.steps), known(run.recipe.validate_every)
    log = JsonLines(run.folder / "log.jsonl", run.step)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    run.objective.model.to(memory_format=layout)
    module, optimizer = fabric.setup(run.objective, run.optimizer)
    module.train()
    pairs = run.data.splits["train"]
    stream = batches(pairs, recipe, run.step, steps, workers=workers, then=transform)
    began, saved, losses, speed = time.perf_counter() - run.seconds, time.perf_counter(), [], Speed()
    with Bar(console, "train", steps, run.step) as bar:
        while run.step < steps or run.validated < steps:
            due = run.step > 0 and (run.step % every == 0 or run.step == steps)
            if due and run.validated < run.step:
                validate(run, fabric.device, stop, log, began)
                module.train()
                run.objective.model.to(memory_format=layout)
                save(run)
                saved = time.perf_counter()
                speed.go_on()
                continue
            images, labels = fabric.to_device(speed.wait_for(stream))
            losses.append(take_step(run, fabric, module, optimizer, images.contiguous(memory_format=layout), labels))
            run.step += 1
            run.seconds = time.perf_counter() - began
            speed.count(recipe.batch)
            best = f"{run.best:.3f}" if run.best >= 0 else "-"
            bar.update(run.step, f"loss {np.mean(losses[-10:]):.3f}  mIoU {best}  {speed}")
            if run.step % 10 == 0 or run.step == steps:
                log.write(step=run.step, loss=float(np.mean(losses[-10:])), lr=rate_at(recipe, run.step - 1),
                          images_per_second=round(speed.rate, 2), waiting=round(speed.waiting, 3),
                          seconds=round(run.seconds, 2))  # fmt: skip
            if speed.steps == 50 and speed.waiting_in_all > STARVED:
                console.print(f"[yellow]{advice(speed.waiting_in_all, workers, pairs)}[/]", highlight=False)
            if run.step % every == 0 or run.step == steps or stop.asked or time.perf_counter() - saved > SAVE_EVERY:
                save(run)
                saved = time.perf_counter()
            if stop.asked:
                raise Interrupted(
                    f"stopped after step {run.step} of {steps}, saved in {run.folder}; the same command resumes"
                )


def take_step(
    run: Run, fabric: Fabric, module: nn.Module, optimizer: Any, images: torch.Tensor, labels: torch.Tensor
) -> float:
    """One step of gradient descent; returns the loss."""
    recipe = run.recipe
    torch.manual_seed(int(np.random.SeedSequence([recipe.seed, run.step]).generate_state(1)[0]))
    for group in optimizer.param_groups:
        group["lr"] = rate_at(recipe, run.step) * group["factor"]
    loss = module(images, labels)
    fabric.backward(loss)
    value = float(loss.detach())
    if not np.isfinite(value):
        raise AtrousError(
            f"{run.folder}: the loss is {value} at step {run.step + 1}; the last checkpoint is kept, "
            f"start a new run with a lower --lr than {recipe.lr}"
        )
    if recipe.clip:
        fabric.clip_gradients(module, optimizer, max_norm=recipe.clip)
    optimizer.step()
    optimizer.zero_grad()
    if run.average is not None:
        run.average.update_parameters(run.objective.model)
    return value


def rate_at(recipe: Recipe, step: int) -> float:
    """The learning rate of a step from 0 on: linear warm-up, then poly, lr (1 - t/T)^power (Chen et al. 2017)."""
    warmup, steps = recipe.warmup or 0, known(recipe.steps)
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    return recipe.lr * (1 - (step - warmup) / max(steps - warmup, 1)) ** recipe.power


def validate(run: Run, device: torch.device, stop: "Stop", log: JsonLines, began: float) -> None:
    """Judge the weights that would be kept on the validation split, keep them when they are the best so far."""
    if "val" not in run.data.splits:
        keep_best(run, None)
        return
    predictor = Predictor(run.evaluated, run.card, device=str(device))
    loss = make_loss(run.recipe.loss, run.data.labels.ignore_index)
    losses, counts = [], []

    def labels_of(sample: Sample) -> np.ndarray:
        if stop.asked:
            raise Interrupted(f"stopped after step {run.step}, saved in {run.folder}; the same command resumes")
        prediction = predictor(sample.image)
        scores, truth = torch.from_numpy(prediction.probabilities), torch.tensor(known(sample.mask))
        losses.append(float(loss(scores.clamp_min(1e-12).log()[None], truth[None])))
        counts.append(int((truth != run.data.labels.ignore_index).sum()))
        return prediction.labels

    result = evaluate(labels_of, run.data.splits["val"], run.data.labels, "val")
    keep_best(run, result)
    run.seconds = time.perf_counter() - began
    log.write(step=run.step, val_miou=result.summary()["miou"], val_loss=float(np.average(losses, weights=counts)),
              seconds=round(run.seconds, 2))  # fmt: skip


class Speed:
    """Images per second and the share of the time in which the network waits for them, smoothed; and that share over
    all steps but the first."""

    def __init__(self) -> None:
        self.rate = self.waiting = 0.0
        self.steps = 0
        self._waited = self._seconds = self._now = 0.0
        self.go_on()

    def __str__(self) -> str:
        return f"{self.rate:.1f} img/s, waiting {self.waiting:.0%}"

    def go_on(self) -> None:
        """What has passed until now does not count."""
        self._last = time.perf_counter()

    def wait_for(self, stream: Iterator[T]) -> T:
        """The stream's next item."""
        start = time.perf_counter()
        item = next(stream)
        self._now = time.perf_counter() - start
        return item

    def count(self, images: int) -> None:
        """A step with so many images is done."""
        now = time.perf_counter()
        seconds = max(now - self._last, 1e-9)
        rate, waiting = images / seconds, self._now / seconds
        self.rate = 0.9 * self.rate + 0.1 * rate if self.steps else rate
        self.waiting = 0.9 * self.waiting + 0.1 * waiting if self.steps else waiting
        if self.steps:  # the first step waits for the workers to start
            self._waited, self._seconds = self._waited + self._now, self._seconds + seconds
        self._last, self.steps = now, self.steps + 1

    @property
    def waiting_in_all(self) -> float:
        """Seconds of waiting in every second of the steps so far."""
        return self._waited / max(self._seconds, 1e-9)


def advice(waiting: float, workers: int, pairs: Pairs) -> str:
    """What to do about a network that waits for its pictures."""
    remedies = []
    if (held := pairs.held) < 1:
        remedies.append(f"--cache 4GB keeps more of them decoded (now {held:.0%})")
    if workers < (cores := os.cpu_count() or 1):
        remedies.append(f"--workers {min(max(2, 2 * workers), cores)} loads them beside it")
    remedies.append("smaller picture files or fewer options of augmentation take less")
    return f"the network waits {waiting:.0%} of the time for pictures: {'; '.join(remedies[:2])}"


class Stop:
    """Ctrl-C and SIGTERM ask for a stop at the next step; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _validation_seconds(run: Run, device: torch.device) -> float:
    """What one validation will take, from three pictures."""
    pairs: Sequence[Sample] = run.data.splits.get("val", [])
    predictor, times = Predictor(copy.deepcopy(run.evaluated), run.card, device=str(device)), []
    for index in range(min(4, len(pairs))):
        start = time.perf_counter()
        _ = predictor(pairs[index].image).probabilities
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times or [0.0]) * len(pairs)
