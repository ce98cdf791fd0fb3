"""The training loop, readable from top to bottom.

A run is a folder. `recipe.toml` decides everything and is complete before step 1. The batch of a step
is a pure function of (seed, step), and so are its dropout masks and learning rate. So a run that was
killed at any point and started again ends in the same tensors, bit for bit, as one that was not.

Under torchrun or srun the same lines run in several processes, each with its share of every batch
(`processes`).
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console

from atrous.bundle import load_card, save_bundle
from atrous.datasets import DataSet
from atrous.errors import DataError, RecipeError, WeightsError, memory_in_words
from atrous.evaluate.seen import traces_of
from atrous.files import alone
from atrous.io import write_image
from atrous.predict.loading import BUNDLE, RECIPE
from atrous.progress import Bar, say
from atrous.train import processes
from atrous.train.advice import STARVED, Speed, advice, norm_advice
from atrous.train.autotune import FABRIC_PRECISION, compile_network, compiled, layout_of, settle
from atrous.train.batches import Replaced, Transform, batches, transform_name
from atrous.train.cases import forget_cases, with_cases
from atrous.train.loggers import CsvLines, JsonLines, Logger, Loggers
from atrous.train.optimizer import frozen_at, make_optimizer, rate_at
from atrous.train.recipe import Recipe
from atrous.train.run import Run, build, check_same, keep_best, known, load_weights, make_card, resume, save_run
from atrous.train.sharding import lay_out, set_up
from atrous.train.signals import Stop
from atrous.train.step import MOST_SKIPPED, pictures_of_step, take_step, too_many_skipped
from atrous.train.surroundings import freed_memory_kept, left_as_found
from atrous.train.validation import validate, validation_seconds
from atrous.visual import beside

SAVE_EVERY = 60.0
"""Seconds between checkpoints; one is also written before every validation."""
OVERLAY_WIDTH = 256
"""Width in pixels of each validation picture in overlays/."""
BAD = 0.01
"""Share of the training pictures that may vanish or be damaged during a run; one may always."""


@processes.joined()
@left_as_found()
@freed_memory_kept()
@memory_in_words()
def train(
    draft: Recipe,
    data: DataSet,
    folder: Path,
    *,
    workers: int = 0,
    transform: Transform | None = None,
    extend: int | None = None,
    loggers: Sequence[Logger] = (),
    strategy: processes.Strategy = "ddp",
    console: Console | None = None,
) -> Path:
    """Train, or resume, the run in `folder`. A finished run is left as it is.

    Args:
        draft: the recipe of a new run. If the folder holds a run, it must agree with that one's recipe.
        data: the images and masks.
        folder: where the run is, or will be.
        workers: loader processes. The weights do not depend on their number.
        transform: a transform of torchvision v2 for every augmented crop (`batches.transformed`).
        extend: give a finished run this many more steps.
        loggers: objects that are told what log.jsonl holds too.
        strategy: "ddp" or "fsdp", for several processes.
        console: where to print; default nowhere.

    Returns:
        The path of the bundle.

    Raises:
        Interrupted: a stop was asked for; everything is saved.
        RecipeError: the folder holds a run of another recipe.
        AtrousError: too many steps had a loss that is not finite.
    """
    console, began = processes.voice(console or Console(quiet=True)), time.perf_counter()
    bundle, saved = folder / BUNDLE, folder / RECIPE
    draft = draft.model_copy(update={"transform": transform_name(transform) if transform else None})
    if any("\ud800" <= sign <= "\udfff" for sign in str(folder)):  # safetensors takes no such path
        raise RecipeError(f"{folder}: the name of this run folder is not UTF-8; give another -o")
    with ExitStack() as stack:
        processes.from_first(lambda: stack.enter_context(alone(folder)))
        fresh = processes.from_first(lambda: is_fresh(folder))
        if fresh and extend:
            raise RecipeError(f"{folder}: holds no run to extend; train one first")
        recipe = processes.from_first(lambda: draft if fresh else Recipe.load(saved))
        check_same(recipe, draft, folder)
        processes.check_batch(recipe.batch, recipe.accumulate)
        if recipe.transform and not transform:
            raise RecipeError(f"{folder} was trained with a transform from Python, {recipe.transform}; give it again")
        if recipe.patience and "val" not in data.splits:
            raise RecipeError(
                f"{data.root}: patience counts validations, but there is no val split; leave out patience"
            )
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        data = prepared(data, recipe, folder, console)
        # the others' weights come by `resume`
        run = build(recipe, data, folder, pretrained=fresh and processes.first())
        if fresh:
            recipe = begin(run, device, workers=workers, transform=transform, console=console, began=began)
            if processes.first():
                recipe.save(saved)
        assert recipe.precision is not None
        thaws = recipe.freeze_steps is not None
        fabric = processes.fabric(device, FABRIC_PRECISION[recipe.precision], strategy=strategy, thaws=thaws)
        resume(run, console)
        if extend:
            recipe = lengthen(run, extend, bundle)
        if run.finished and is_of(bundle, recipe):
            say(f"{folder} is finished ({run.step} steps): {bundle}", console)
            return bundle
        announce(run, device, console)
        log = Loggers([])
        if processes.first():
            at = (run.step, run.validated)
            log = Loggers([JsonLines(folder / "log.jsonl", *at), CsvLines(folder / "log.csv", *at), *loggers])
        with deterministic(), Stop(echoed=processes.size() > 1) as stop:
            log.resume(run.step)
            try:
                with compiled(recipe, folder):
                    loop(run, fabric, stop, workers, console, log, transform)
            finally:
                log.close()
        if run.bad:
            names = ", ".join(run.bad)
            say(f"{len(run.bad)} pictures could not be read and were replaced: {names}", console, "yellow")
        return processes.from_first(lambda: finish(run, bundle))


def prepared(data: DataSet, recipe: Recipe, folder: Path, console: Console) -> DataSet:
    """The data set of a recipe for volumes with its training volumes prepared; one of images as it is."""
    if recipe.volume is None:
        return data

    def prepare() -> None:
        with Bar(console, "prepare volumes", len(data.training)) as bar:
            with_cases(data, recipe.volume, folder, bar.at)

    processes.from_first(prepare)
    return with_cases(data, recipe.volume, folder)


def is_fresh(folder: Path) -> bool:
    """Whether a run begins in this folder; RecipeError if it holds files of a run whose recipe is gone, or others'."""
    if (folder / RECIPE).exists():
        return False
    made = {path.stem for path in (folder / "checkpoints").glob("*.safetensors")}
    if made - {"step-00000000"}:  # that one alone: the run was killed between its first checkpoint and its recipe
        raise RecipeError(
            f"{folder}: holds checkpoints but no recipe.toml; put the recipe back, or give another folder"
        )
    for name in (BUNDLE, "metrics.json", "report.html", "log.jsonl", "log.csv", "overlays"):
        if os.path.lexists(folder / name):
            raise RecipeError(f"{folder}: holds {name} but no recipe.toml of a run; give another folder")
    return True


def begin(
    run: Run, device: torch.device, *, workers: int, transform: Transform | None, console: Console, began: float
) -> Recipe:
    """Decide by measuring what the recipe leaves open, and write the initial weights. Returns the complete recipe."""
    validation = 0.0
    if run.recipe.steps is None:
        validation = validation_seconds(run.evaluated, run.card, run.data.splits.get("val", []), device)
    run.recipe = settle(
        run.recipe,
        run.objective,
        run.data.training,
        device=device,
        workers=workers,
        began=began,
        validation=validation,
        transform=transform,
        say=lambda text: say(text, console),
    )
    run.objective.freeze(None)
    run.optimizer = make_optimizer(run.recipe, run.objective.model)
    run.card = make_card(run.recipe, run.data)
    save_run(run)  # the initial weights, so that a resumed run needs no download and no random state
    return run.recipe


def announce(run: Run, device: torch.device, console: Console) -> None:
    """Print what is about to run, and advice on batch norms if they see too little."""
    recipe = run.recipe
    say(f"{recipe.steps} steps of {recipe.batch} x {'x'.join(map(str, recipe.crop))}, {recipe.precision}"
        f"{', channels_last' if recipe.channels_last else ''}{', fused' if recipe.fused else ''}"
        f"{', compiled' if recipe.compile is True else ''}, on {device}"
        f"{f', in {processes.size()} processes' if processes.size() > 1 else ''}", console)  # fmt: skip
    run.objective.freeze(frozen_at(recipe, run.step))
    if norms := norm_advice(run.objective, recipe.batch, recipe.accumulate, device):
        say(norms, console, "yellow")


@contextmanager
def deterministic() -> Iterator[None]:
    """Use kernels that give the same bits each time; torch warns where it has none. Restores the old choice after."""
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


def finish(run: Run, bundle: Path) -> Path:
    """Write the best weights, with their card, as the run's bundle."""
    best = load_weights(run.folder / "checkpoints" / "best.safetensors", run)
    save_bundle(bundle, best, replace(run.card, seen=traces_of(run.data.training)))
    forget_cases(run.folder)
    return bundle


def loop(
    run: Run,
    fabric: Fabric,
    stop: Stop,
    workers: int,
    console: Console,
    log: Logger,
    transform: Transform | None = None,
) -> None:
    """Take all steps that are left, with a validation every `validate_every` steps and after the last."""
    recipe, steps, every = run.recipe, known(run.recipe.steps), known(run.recipe.validate_every)
    layout = layout_of(recipe, recipe.channels_last)
    lay_out(run.objective.model, layout, fabric)
    run.objective.freeze(None if recipe.freeze_steps else recipe.freeze)
    module, optimizer = set_up(fabric, run.objective, run.optimizer, run.average)
    module.train()
    if recipe.compile is True:
        compile_network(run.objective)
    pairs = run.data.training
    stream = batches(pairs, recipe, run.step, steps, workers=workers, then=transform)
    began, saved, speed = time.perf_counter() - run.seconds, time.perf_counter(), Speed()
    losses: list[float] = []
    with Bar(console, "train", steps, run.step) as bar:
        while not run.finished:
            due = run.step > 0 and (run.step % every == 0 or run.step in (*recipe.ends, steps))
            if due and run.validated < run.step:
                judge_and_keep(run, fabric.device, stop, log, began)
                module.train()
                lay_out(run.objective.model, layout, fabric)
                save_run(run)
                saved = time.perf_counter()
                speed.go_on()
                continue
            images, labels, replaced = speed.wait_for(stream)
            note_bad(run, [one for theirs in processes.everyones(replaced) for one in theirs], log, console)
            images, labels = fabric.to_device((images, labels))
            images = images.contiguous(memory_format=layout)
            loss, problem = take_step(run, fabric, module, optimizer, images, labels)
            run.step += 1
            run.seconds = time.perf_counter() - began
            if problem:
                log.write(step=run.step, skipped=run.skipped, why=problem, pictures=pictures_of_step(run, run.step - 1))
            if run.skipped >= MOST_SKIPPED:
                raise too_many_skipped(run, problem)
            losses = [*losses[-9:], loss] if isfinite(loss) else losses
            mean = float(np.mean(losses)) if losses else None
            speed.count(recipe.batch)
            best = f"{run.best:.3f}" if run.best >= 0 and "val" in run.data.splits else "-"
            bar.update(run.step, f"loss {np.nan if mean is None else mean:.3f}  mIoU {best}  {speed}")
            if run.step % 10 == 0 or run.step == steps:
                log.write(step=run.step, loss=mean, lr=rate_at(recipe, run.step - 1),
                          images_per_second=round(speed.rate, 2), waiting=round(speed.waiting, 3),
                          seconds=round(run.seconds, 2))  # fmt: skip
            if speed.steps == 50 and speed.waiting_in_all > STARVED:
                say(advice(speed.waiting_in_all, workers, pairs), console, "yellow")
            due = run.step % every == 0 or run.step in (*recipe.ends, steps)
            told = processes.everyones((stop.asked, time.perf_counter() - saved > SAVE_EVERY))
            asked = stop.hear(asked for asked, _ in told)  # a later signal waits for the next step: all must agree
            if due or asked or told[0][1]:
                save_run(run)
                saved = time.perf_counter()
            if asked:
                raise stop.interrupted(
                    f"stopped after step {run.step} of {steps}, saved in {run.folder}; the same command resumes"
                )
        if run.step < steps:
            say(f"stopped early after step {run.step}: {run.stale} validations in a row were not better", console)


def judge_and_keep(run: Run, device: torch.device, stop: Stop, log: Logger, began: float) -> None:
    """Validate the weights that would be kept, and keep them if they are the best so far."""
    if "val" not in run.data.splits:
        keep_best(run, None)
        return
    found = validate(run.evaluated, run.card, run.data.splits["val"], run.recipe.loss, device=device, stop=stop)
    if found is None:
        raise stop.interrupted(f"stopped after step {run.step}, saved in {run.folder}; the same command resumes")
    keep_best(run, found.result)
    run.seconds = time.perf_counter() - began
    if processes.first():
        write_image(run.folder / "overlays" / f"step-{run.step:08d}.jpg", beside(found.columns, OVERLAY_WIDTH))
    loss = {} if found.loss is None else {"val_loss": found.loss}
    log.write(step=run.step, val_miou=found.result.miou, **loss, seconds=round(run.seconds, 2))


def note_bad(run: Run, replaced: Sequence[Replaced], log: Logger, console: Console) -> None:
    """Log pictures that cannot be read any more; raise DataError if they are more than one in a hundred."""
    for name, instead, why in replaced:
        if name in run.bad:
            continue
        run.bad.append(name)
        log.write(step=run.step + 1, bad_picture=name, instead=instead, why=why)
        say(f"{name} cannot be read any more, {instead} replaces it: {why}", console, "yellow")
    count = len(run.data.training)
    if len(run.bad) > max(1, BAD * count):
        raise DataError(
            f"{run.data.root}: {len(run.bad)} of {count} training pictures cannot be read any more, which is more than "
            f"one in a hundred: {', '.join(run.bad[:4])}, ...; put them back and give the same command again"
        )


def lengthen(run: Run, more: int, bundle: Path) -> Recipe:
    """Give a finished run `more` steps, and write its recipe anew. An extension that is under way goes on.

    From where the run had ended, it follows the learning rate of a run of the new length (`optimizer.rate_at`).
    """
    recipe, steps = run.recipe, known(run.recipe.steps)
    if not (run.finished and is_of(bundle, recipe)):
        if recipe.ends and steps - recipe.ends[-1] == more:
            return recipe
        raise RecipeError(
            f"{run.folder}: is at step {run.step} of {steps}; finish it by the command that started it, then extend it"
        )
    longer = {"steps": run.step + more, "extended": (*recipe.extended, (run.step, steps))}
    run.recipe = recipe.model_copy(update=longer)
    run.card, run.stale = make_card(run.recipe, run.data), 0
    if processes.first():
        run.recipe.save(run.folder / "recipe.toml")
    return run.recipe


def is_of(bundle: Path, recipe: Recipe) -> bool:
    """Whether the bundle is that of the whole run, not of one before an extension."""

    def steps() -> object:
        try:
            return load_card(bundle).recipe.get("steps")
        except WeightsError:
            return None

    return processes.from_first(steps) == recipe.steps
