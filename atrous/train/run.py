"""A run: its parts, where it stands, and how it is kept in its folder.

RUN/recipe.toml          everything that decides the run, complete before step 1
RUN/log.jsonl, log.csv   one line per ten steps and per validation
RUN/overlays/            a few validation pictures at every validation: the truth above, the prediction below
RUN/checkpoints/         the newest two checkpoints, and best.safetensors: the weights with the best validation so far
RUN/model.safetensors    the bundle, written when the run is finished
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.optim.swa_utils import AveragedModel

from atrous.bundle import Card, load_bundle, save_tensors
from atrous.datasets import DataSet
from atrous.errors import ModelError, RecipeError, let_through
from atrous.evaluate.evaluation import Evaluation
from atrous.files import parse_json, refuse_stream
from atrous.losses import make_loss
from atrous.models import build_model
from atrous.models.refined import Refined, page_of, refined
from atrous.predict.loading import digest, load_network
from atrous.progress import say
from atrous.train import processes
from atrous.train.checkpoint import load_checkpoint, pack_optimizer, save_checkpoint, unpack_optimizer
from atrous.train.distillation import Teacher, check_teacher
from atrous.train.objective import Normalise, Objective
from atrous.train.optimizer import make_optimizer
from atrous.train.recipe import Recipe
from atrous.train.sharding import gathered, in_shares, own_share
from atrous.zoo.fetch import located

T = TypeVar("T")


@dataclass
class Run:
    """What the loop works on: the parts of one run, and where it stands.

    Attributes:
        step: how many steps are done.
        validated: the last step that was judged.
        best: the best mIoU so far, -1 before the first validation.
        seconds: how long the run has trained, over all its starts.
        stale: validations in a row without a better mIoU.
        skipped: steps without a finite loss or gradient.
        bad: the names of pictures that could not be read.
    """

    folder: Path
    recipe: Recipe
    data: DataSet
    card: Card
    objective: Objective
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    step: int = 0
    validated: int = 0
    best: float = -1.0
    seconds: float = 0.0
    stale: int = 0
    skipped: int = 0
    bad: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or `patience` has run out, and the last step is validated."""
        stopped = self.recipe.patience is not None and self.stale >= self.recipe.patience
        return self.validated == self.step and (self.step == self.recipe.steps or stopped)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is judged and kept: the moving average if there is one."""
        return self.average.module if self.average is not None else self.objective.model


def build(recipe: Recipe, data: DataSet, folder: Path, *, pretrained: bool) -> Run:
    """The parts of a run at step 0.

    Args:
        pretrained: load the encoder's weights, or those of `recipe.init`; a checkpoint holds them already.
    """
    if recipe.class_weights and len(recipe.class_weights) != len(data.labels):
        raise RecipeError(
            f"{data.root}: class_weights has {len(recipe.class_weights)} values for {len(data.labels)} classes; "
            "give one for each class, or []"
        )
    torch.manual_seed(recipe.seed)
    weights = recipe.weights if pretrained else "random"
    source: bool | str = {"random": False, "pretrained": True}.get(weights, weights)
    model = build_model(recipe.model, classes=len(data.labels), pretrained=source, **recipe.model_options())
    if recipe.refine:
        model = refined(model, recipe.refine, mean=recipe.mean, std=recipe.std, dtype=recipe.dtype)
    if recipe.init and pretrained:
        start_from(model, Path(recipe.init))
    weight = torch.tensor(recipe.class_weights) if recipe.class_weights else None
    loss = make_loss(recipe.loss, data.labels.ignore_index, weight, recipe.smoothing)
    norm = Normalise(recipe.mean, recipe.std)
    objective = Objective(
        model,
        loss,
        norm,
        aux_weight=recipe.aux_weight,
        frozen_norms=recipe.frozen_norms,
        teacher=teacher_of(recipe, data, model) if recipe.distil else None,
    )
    average = AveragedModel(model, multi_avg_fn=moving_average(recipe.ema), use_buffers=True) if recipe.ema else None
    return Run(folder, recipe, data, make_card(recipe, data), objective, average, make_optimizer(recipe, model))


def start_from(model: nn.Module, bundle: Path) -> None:
    """Copy the bundle's tensors that fit into the model: of the networks, and of the refiners if both have one."""
    net, _ = load_bundle(located(bundle))
    pairs = [(page_of(net), page_of(model))]
    if isinstance(net, Refined) and isinstance(model, Refined):
        pairs.append((net.layer, model.layer))
    for theirs, ours in pairs:
        ours.load_state_dict(fitting_tensors(theirs, ours), strict=False)


def fitting_tensors(net: nn.Module, model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of `net` that `model` has by name and shape."""
    own = {name: tensor.shape for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in net.state_dict().items() if own.get(name) == tensor.shape}


def teacher_of(recipe: Recipe, data: DataSet, model: nn.Module) -> Teacher:
    """The network that a recipe distils from.

    Raises:
        RecipeError: it has changed since the run began, or has other classes or images.
        ModelError: the student trains on points.
    """
    path = str(recipe.distil)
    if hasattr(model, "pairs"):
        raise ModelError(f"{recipe.model} trains on single points, a teacher on all pixels; distil into another model")
    if recipe.distil_digest != digest(Path(path)):
        raise RecipeError(f"{path}: is not the teacher that the run began with; put that one back, or use another -o")
    net, card = load_network(path)
    check_teacher(path, card, labels=data.labels, channels=data.channels, dtype=str(data.dtype))
    return Teacher(net, card, temperature=recipe.distil_temperature, weight=recipe.distil_weight)


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential moving average for `AveragedModel`.

    Its decay starts as (1 + n) / (10 + n) after n steps, so that the first weights are soon forgotten.
    """

    @torch.no_grad()
    def update(averages: list[torch.Tensor], currents: list[torch.Tensor], count: torch.Tensor | int) -> None:
        n = int(count)
        averages, currents = [own_share(tensor) for tensor in averages], [own_share(tensor) for tensor in currents]
        weight = 1 - min(decay, (1 + n) / (10 + n))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, weight)
        else:
            torch._foreach_copy_(averages, currents)

    return update


def check_same(recipe: Recipe, draft: Recipe, folder: Path) -> None:
    """Raise RecipeError where a command asks for another recipe than that of the run in `folder`."""
    whole = recipe.model_dump()
    for key, asked in draft.model_dump().items():
        held = whole[key]
        if key == "steps" and asked in [length for _, length in recipe.extended]:
            continue  # the command of before the extension
        if key == "compile" and asked and held:
            continue  # the run holds what came of the same wish
        if key == "valid_area" and asked != held:  # here None is a choice too
            right = f"give --valid-area {held}" if held else "leave out --valid-area"
            raise RecipeError(f"{folder} holds a run with valid_area = {held}; {right}, or use another -o")
        if asked is not None and asked != held and key not in ("atrous", "data", "extended"):
            if key in ("fingerprint", "train_images", "val_images", "in_channels", "dtype"):
                raise RecipeError(
                    f"{folder} holds a run on other images or classes than {draft.data} has now; use another -o"
                )
            raise RecipeError(
                f"{folder} holds a run with {key} = {held}, this command asks for {asked}; use another -o"
            )


def resume(run: Run, console: Console) -> None:
    """Load the newest checkpoint that is whole, and say so."""
    found = processes.from_first(lambda: load_checkpoint(run.folder / "checkpoints"))
    if found is None:
        raise RecipeError(f"{run.folder}: holds a recipe but no readable checkpoint; start again with another -o")
    tensors, state, damaged = found
    if state["step"] > (run.recipe.steps or 0):
        raise RecipeError(
            f"{run.folder}: its checkpoint is of step {state['step']}, its recipe has {run.recipe.steps} steps; "
            "start again with another -o"
        )
    for name in damaged:
        say(f"{name} is damaged and was passed over", console, "yellow")
    run.objective.model.load_state_dict(_under(tensors, "model."))
    if run.average is not None:
        run.average.module.load_state_dict(_under(tensors, "ema."))
        run.average.n_averaged.fill_(state["averaged"])
    unpack_optimizer(run.optimizer, tensors)
    run.step, run.validated, run.best, run.seconds = (state[key] for key in ("step", "validated", "best", "seconds"))
    run.stale, run.skipped, run.bad = state.get("stale", 0), state.get("skipped", 0), list(state.get("bad", []))
    if run.step in run.recipe.ends:
        run.stale = 0  # patience begins anew
    if run.step and not run.finished:
        say(f"resuming {run.folder} after step {run.step} of {run.recipe.steps}", console)


def load_weights(path: Path, run: Run) -> nn.Module:
    """Load the best weights so far into the network that is kept, and their scores into the run's card."""
    refuse_stream(path)
    network = run.card.build() if in_shares(run.evaluated) else run.evaluated
    try:
        with safe_open(path, framework="pt") as file:
            run.card.metrics.update(parse_json(file.metadata()["metrics"]))
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        let_through(error)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:300]
        raise RecipeError(f"{path}: the best weights cannot be read ({reason}); start again with another -o") from error
    return network


def save_run(run: Run) -> None:
    """Write a checkpoint. All processes must call this; the first one writes."""
    tensors = {f"model.{name}": tensor for name, tensor in run.objective.model.state_dict().items()}
    averaged = 0
    if run.average is not None:
        tensors |= {f"ema.{name}": tensor for name, tensor in run.average.module.state_dict().items()}
        averaged = int(run.average.n_averaged)
    state = {
        "step": run.step,
        "validated": run.validated,
        "best": run.best,
        "seconds": run.seconds,
        "averaged": averaged,
        "stale": run.stale,
        "skipped": run.skipped,
        "bad": run.bad,
    }
    tensors = {name: gathered(tensor) for name, tensor in (tensors | pack_optimizer(run.optimizer)).items()}
    if processes.first():
        save_checkpoint(run.folder / "checkpoints", tensors, state)


def keep_best(run: Run, result: Evaluation | None) -> None:
    """Mark this step as validated. Keep its weights if they are the best so far, or if there is no val split."""
    run.validated = run.step
    miou = (result.miou if result else None) or 0.0
    better = miou > run.best or not result
    run.stale = 0 if better or run.step in run.recipe.ends else run.stale + 1
    if better:
        run.best = miou
        metrics = {"val": {**result.summary(), "step": run.step}} if result else {}
        path = run.folder / "checkpoints" / "best.safetensors"
        tensors = {name: gathered(tensor) for name, tensor in run.evaluated.state_dict().items()}
        if processes.first():
            save_tensors(path, tensors, {"metrics": json.dumps(metrics)})


def make_card(recipe: Recipe, data: DataSet) -> Card:
    """The card of the bundle that the recipe makes."""
    return Card(
        model=recipe.model,
        options=recipe.model_options(),
        labels=data.labels,
        mean=recipe.mean,
        std=recipe.std,
        dtype=recipe.dtype,
        layer={"name": recipe.refine} if recipe.refine else {},
        recipe=recipe.model_dump(exclude_none=True),
        data=recipe.data,
        atrous=recipe.atrous,
        volume=recipe.volume.model_dump(mode="json", exclude_none=True) if recipe.volume else {},
    )


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def known(value: T | None) -> T:
    """The value, which a complete recipe or data set has; RecipeError for None."""
    if value is None:
        raise RecipeError(
            "the recipe or the data are not complete: steps, validate_every and masks are fixed before step 1"
        )
    return value
