"""A recipe: everything that decides a training run, as one TOML file without inheritance.

`RUN/recipe.toml` is written before step 1 and only read afterwards, so that the same command
resumes the same run. Each field carries its description: `atrous plan --fields`, docs/recipe.md and
the JSON schema are made from them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from atrous.errors import DataError, RecipeError, nearest
from atrous.files import read_toml, toml_text, write_atomically
from atrous.io.marks import marked
from atrous.losses import parse_loss
from atrous.models.former import options_today
from atrous.volumes import VolumeForm

Count = Annotated[int, Field(gt=0, le=2**31)]
Width = Annotated[int, Field(gt=0, le=2**16)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]
Mean = Annotated[float, Field(ge=-1e30, le=1e30)]
Std = Annotated[float, Field(ge=1e-30, le=1e30)]
Zoom = Annotated[float, Field(ge=0.01, le=100)]
Degrees = Annotated[float, Field(ge=0, le=180)]


class Recipe(BaseModel):
    """Everything that decides a run. A key that is unknown and a value out of bounds are errors.

    Sizes are in pixels, times in seconds, `mean` and `std` in the units of the images' pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    atrous: str = Field(description="Version of atrous that wrote the recipe.")
    data: str = Field(description="Folder of the training data.")
    fingerprint: str = Field(
        description="Hash of the classes and of the training images' names. A run does not go on with other data."
    )
    train_images: Count = Field(description="Number of training images.")
    val_images: int = Field(
        0, ge=0, le=2**31, description="Number of validation images; 0 if there is no validation split."
    )

    model: str = Field(
        description="Architecture, one of the names that `atrous models` lists. The plan takes deeplabv3plus."
    )
    encoder: str | None = Field(
        None,
        description="Encoder, any name of timm. The plan takes tf_efficientnet_lite0. Models whose encoder cannot be "
        "exchanged have none.",
    )
    stride: Count | None = Field(
        None, description="Output stride: pixels per cell of the coarsest features. If left open, the model's own."
    )
    channels: tuple[Width, ...] | None = Field(
        None, description="Decoder widths, deepest first, where a model takes them. If left open, the model's own."
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Further arguments of the model, such as `options.skips = [16, 8]` or `options.zoom = 1.5`. On "
        "the command line: `--option skips=[16,8]`.",
    )
    frozen_norms: bool = Field(
        False,
        description="true: the encoder's batch norms keep the statistics that its weights came with. Their scales and "
        "shifts are trained all the same.",
    )
    in_channels: Width = Field(description="Number of channels of the images.")
    weights: str = Field(
        "random",
        description='Weights that the encoder starts from: "pretrained" (ImageNet), "random", or a file. On the '
        "command line: `--pretrained`, `--no-pretrained`, `--encoder-weights FILE`.",
    )
    init: str | None = Field(
        None, description="Bundle, run or published name from whose tensors the network starts, as far as they fit."
    )
    refine: Literal["convcrf", "crfrnn"] | None = Field(
        None, description="CRF that is trained as the last layer of the network. If left open, there is none."
    )

    dtype: Literal["uint8", "uint16", "float32"] = Field("uint8", description="Type of the images' pixels.")
    mean: tuple[Mean, ...] = Field(
        min_length=1, description="Mean of each channel, which is subtracted, in the units of the pixels."
    )
    std: tuple[Std, ...] = Field(
        min_length=1, description="Standard deviation of each channel, which divides it, in the units of the pixels."
    )
    crop: tuple[Width, ...] = Field(
        min_length=2,
        max_length=3,
        description="Height and width of the training crops, in pixels; of volumes depth too. The plan takes the "
        "median image, rounded up to multiples of 32, at most 320 on each side, less if the memory is small.",
    )
    scale: tuple[Zoom, Zoom] = Field(
        (0.5, 2.0),
        description="Random zoom: smallest and largest factor. Enlarging and shrinking by the same factor are "
        "equally likely. The plan takes 2/3 to 3/2; for satellite bands 1 to 1.",
    )
    rotate: Degrees = Field(0.0, description="Random rotation, at most x degrees either way.")
    flip: Share = Field(0.5, description="Probability of a mirror image, left for right.")
    vflip: Share = Field(
        0.0, description="Probability of a mirror image, top for bottom. The plan takes 0.5 where images have no up."
    )
    brightness: Share = Field(
        0.2, description="Random brightness: pixels are multiplied by a factor from 1 - x to 1 + x."
    )
    contrast: Share = Field(
        0.2, description="Random contrast about the mean of the crop: a factor from 1 - x to 1 + x."
    )
    saturation: Share = Field(
        0.2,
        description="Random saturation about the grey of each pixel: a factor from 1 - x to 1 + x. Only for images "
        "of three channels.",
    )
    hue: Degrees = Field(
        5.0, description="Random turn of the hue, at most x degrees either way. Only for images of three channels."
    )
    shear: float = Field(
        0.0, ge=0, le=60, description="Random shear: verticals and horizontals lean at most x degrees either way."
    )
    elastic: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Random elastic deformation: x is the standard deviation, in pixels of the crop, of the vectors "
        "on a 3 x 3 grid. 0: none. U-Net 2015 has 10.",
    )
    gamma: float = Field(
        0.0, ge=0, le=9, description="Random gamma: exponent from 1 / (1 + x) to 1 + x on values from 0 (black) to 1."
    )
    blur: float = Field(
        0.0, ge=0, le=100, description="Random Gaussian blur: its standard deviation is drawn from 0 to x pixels."
    )
    noise: float = Field(
        0.0,
        ge=0,
        le=1e30,
        description="Random Gaussian noise: its standard deviation is drawn from 0 to x, as a share of white; in "
        "float32 images, in their own units.",
    )
    jpeg: int = Field(
        100,
        ge=1,
        le=100,
        description="Random JPEG compression: its quality is drawn from x to 100, where 100 means none. For uint8 "
        "images of 1 or 3 channels.",
    )
    cutmix: Share = Field(
        0.0, description="Probability that a rectangle of the crop comes from another training image."
    )
    mosaic: Share = Field(
        0.0, description="Probability that four images make up the crop. Together with `cutmix` at most 1."
    )
    lowres: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="Random coarse scan, of volumes: the crop is shrunk to a share from 1 - x to 1 and enlarged again.",
    )
    foreground: Share = Field(
        0.33,
        description="Share of the crops of volumes that are drawn about a labelled voxel, of a class that is drawn "
        "first; the others lie anywhere.",
    )
    transform: str | None = Field(
        None,
        description="Name of a transform that was given from Python. A recipe holds no code: to go on, give the same "
        "transform again.",
    )

    loss: str = Field(
        "ce",
        description='Loss, or a sum of losses with factors and parameters, such as "ce + 0.5 * dice". The plan takes '
        '"ce", and "ce + dice" if a class is rare.',
    )
    class_weights: tuple[NotNegative, ...] | None = Field(
        None,
        description="Weight of each class in the loss, in the order of the classes; []: all weigh the same. "
        "The plan takes (median share / share)^(1/4), from the labelled pixels.",
    )
    smoothing: float = Field(
        0.0, ge=0, lt=1, description="Label smoothing of ce and ohem: share of a label spread over all classes."
    )
    aux_weight: NotNegative | tuple[NotNegative, ...] = Field(
        0.4,
        description="Weight of the loss of each auxiliary output, one for all or a list with one each. It counts for "
        "models built with `options.aux = true`.",
    )
    distil: str | None = Field(
        None,
        description="Teacher: a bundle, run or folder of a cross-validation with the same classes, whose predictions "
        "the network learns from too.",
    )
    distil_digest: str | None = Field(
        None, description="Hash of the teacher's weights. A run does not go on with another teacher."
    )
    distil_weight: Positive = Field(1.0, description="Weight of the term that `distil` adds to the loss.")
    distil_temperature: Positive = Field(
        2.0, description="Temperature that the logits of teacher and student are divided by; higher is softer."
    )

    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="Optimiser; sgd has Nesterov momentum 0.9.")
    lr: Positive = Field(description="Highest learning rate. The plan takes 0.001.")
    encoder_lr: Positive = Field(
        1.0, description="Learning rate of the encoder, as a factor of `lr`. The plan takes 0.5."
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Each block of the encoder has this factor times the rate of the block behind it; 1: all have the "
        "same. 0.7 to 0.9 suit transformers.",
    )
    freeze: Literal["encoder", "norms", "all_norms"] | None = Field(
        None,
        description="What is not trained: the encoder; the norms of the encoder (statistics, scales and shifts); the "
        "norms of the whole network. If left open, all is trained.",
    )
    freeze_steps: Count | None = Field(None, description="`freeze` holds for the first x steps. If left open, for all.")
    refine_lr: Positive = Field(10.0, description="Learning rate of the CRF of `refine`, as a factor of `lr`.")
    weight_decay: NotNegative = Field(
        0.01, description="Weight decay, of all weights but biases, norms and the CRF of `refine`."
    )
    clip: NotNegative = Field(
        1.0, description="Largest 2-norm of the gradient, which is scaled down to it. 0: no limit."
    )
    warmup: int | None = Field(
        None,
        ge=0,
        le=2**31,
        description="Steps in which the rate rises to `lr`. If left open, a twentieth of all steps, at most 500; with "
        "one_cycle 30 % of them.",
    )
    schedule: Literal["poly", "cosine", "one_cycle"] = Field(
        "poly",
        description="Rate after the warm-up, with t from 0 to 1. poly: lr (1 - t)^`power`. cosine: half a cosine down "
        "to 0. one_cycle: half a cosine down to lr / 250,000, after a warm-up from lr / 25.",
    )
    power: float = Field(0.9, gt=0, le=100, description="Exponent of the schedule poly.")
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay per step of the moving average of the weights, which is what is validated and kept. "
        "The plan takes 0.998. A complete recipe without it has no average.",
    )
    batch: Count = Field(description="Images per step, over all processes. The plan takes 4, on a GPU 8.")
    accumulate: Count = Field(
        1, description="Parts in which a batch passes through the network, one by one, to save memory."
    )
    seed: int = Field(0, ge=0, lt=2**64, description="Seed of everything random.")
    patience: Count | None = Field(
        None, description="Stop after x validations in a row without a better one. If left open, never."
    )
    valid_area: str | None = Field(
        None, description="The folder of fields of view beside images/: where they are 0, pixels count nowhere."
    )
    fold: tuple[Count, Count] | None = Field(
        None, description="(i, K): fold i of K, counted from 1, is the validation split. `--folds K` trains all."
    )
    extended: tuple[tuple[Count, Count], ...] = Field(
        (),
        description="One pair for each `--extend`: the step at which the run had ended, and the number of steps that "
        "its schedule had had until then.",
    )

    time: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None, description="Seconds for the whole training, with validations. The plan takes 3600 if `steps` is open."
    )
    steps: Count | None = Field(
        None, description="Number of training steps. If left open, as many as fit into `time`, measured."
    )
    validate_every: Count | None = Field(
        None,
        description="Steps between validations. If left open, there are 8 validations, or fewer (at least 2) "
        "if they would take over a tenth of `time`.",
    )
    precision: Literal["fp32", "bf16"] | None = Field(
        None,
        description="Arithmetic of a step: float32, or bfloat16 where it is safe (mixed precision). If left open, the "
        "faster one, measured.",
    )
    channels_last: bool | None = Field(
        None, description="Memory layout; true: channels last. If left open, the faster one, measured."
    )
    fused: bool | None = Field(
        None, description="true: the optimiser moves all weights in one kernel. If left open, the faster way, measured."
    )
    compile: bool | Literal["failed"] = Field(
        False,
        description='true: torch.compile builds kernels for the network and its loss. "failed": that was asked for and '
        "did not work on this machine.",
    )

    volume: VolumeForm | None = Field(
        None, description="The form in which volumes are seen: spacing, axes, normalisation. Images have none."
    )

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, text: str) -> str:
        parse_loss(text)
        return text

    @field_validator("options")
    @classmethod
    def _further(cls, options: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted({"classes", "encoder", "in_channels", "pretrained"} & set(options)):
            raise ValueError(f"{taken[0]!r} is not for options; the recipe has a key of its own for it")
        given = {key: value for key, value in options.items() if value is not None}  # TOML lacks None
        try:
            toml_text(given)
        except TypeError as error:
            raise ValueError(f"{error}; give numbers, texts, true or false, lists and tables of them") from error
        return given

    @field_validator("scale")
    @classmethod
    def _rising(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError(f"the smaller factor comes first, got {list(scale)}")
        return scale

    @field_validator("class_weights")
    @classmethod
    def _some_weight(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights and not any(weights):
            raise ValueError(f"one weight at least must be above 0, got {list(weights)}")
        return weights

    @field_validator("fold")
    @classmethod
    def _one_of_them(cls, fold: tuple[int, int] | None) -> tuple[int, int] | None:
        if fold is not None and fold[0] > fold[1]:
            raise ValueError(f"there is no fold {fold[0]} of {fold[1]}; folds are counted from 1 to {fold[1]}")
        return fold

    @model_validator(mode="after")
    def _one_mix(self) -> "Recipe":
        if self.cutmix + self.mosaic > 1:
            raise ValueError(
                f"cutmix={self.cutmix} and mosaic={self.mosaic} are probabilities of which one or the other happens; "
                "their sum must be at most 1"
            )
        return self

    @model_validator(mode="after")
    def _parts(self) -> "Recipe":
        if self.accumulate > self.batch:
            raise ValueError(f"accumulate={self.accumulate} parts cannot be made of batch={self.batch} images")
        if self.freeze_steps is not None and self.freeze is None:
            raise ValueError("freeze_steps without freeze; give freeze too: encoder, norms or all_norms")
        return self

    @property
    def ends(self) -> list[int]:
        """The steps at which the run had ended before it was extended."""
        return [end for end, _ in self.extended]

    def model_options(self) -> dict[str, Any]:
        """The arguments of `create_model` besides the name and the classes."""
        options = {"in_channels": self.in_channels, "encoder": self.encoder, "stride": self.stride,
                   "channels": self.channels, **self.options}  # fmt: skip
        return {key: value for key, value in options.items() if value is not None}

    def save(self, path: Path | str, *, mark: bool = False) -> None:
        """Write the recipe as TOML, atomically. mark: as a result, see `atrous.io.marks`."""
        entries = self.model_dump(exclude={"options", "volume"}, exclude_none=True)
        tables = {"options": self.options, "volume": self.volume and self.volume.model_dump(exclude_none=True)}
        entries |= {key: table for key, table in tables.items() if table}  # TOML wants tables behind all other keys
        text = "# atrous recipe: written before step 1, only read on resume.\n" + toml_text(entries)
        write_atomically(Path(path), marked(text.encode(), ".toml") if mark else text.encode())

    @classmethod
    def load(cls, path: Path | str) -> "Recipe":
        """Read a complete recipe.

        Raises:
            RecipeError: the file cannot be read; a key is missing, unknown (it offers the nearest)
                or out of bounds.
        """
        return cls.checked(str(path), **_read(Path(path)))

    @classmethod
    def decided(cls, path: Path | str) -> dict[str, Any]:
        """Read a part of a recipe: the fields that the file decides, each of them checked.

        Raises:
            RecipeError: as `load`, but no field has to be there.
        """
        values = _read(Path(path))
        given = [values[key] for key in ("mean", "std") if isinstance(values.get(key), list)]
        channels = values.get("in_channels", len(given[0]) if given else 1)
        many = channels if isinstance(channels, int) and 0 < channels <= 2**16 else 1
        rest = {"in_channels": channels, "mean": (0.0,) * many, "std": (1.0,) * many}
        whole = cls.checked(str(path), **ANY | rest | values)
        return {key: getattr(whole, key) for key in values}

    @classmethod
    def checked(cls, source: str, **values: Any) -> "Recipe":
        """A recipe of `values`; RecipeError names `source` and the first key that does not fit."""
        try:
            made = cls(**values)
        except ValidationError as error:
            first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
            hint = first["msg"].removeprefix("Value error, ")
            if not first["loc"]:  # a rule about several keys, which names them
                raise RecipeError(f"{source}: {hint}") from error
            name, *inside = first["loc"]
            key = ".".join(map(str, [name, *(index for index in inside if isinstance(index, int))]))
            if first["type"] == "extra_forbidden":
                hint = nearest(key, list(cls.model_fields))
            elif hint.startswith("Input should"):
                given = repr(first["input"])
                hint += f", got {given if len(given) <= 60 else given[:57] + '...'}"
            raise RecipeError(f"{source}: key {key!r} does not fit a recipe; {hint}") from error
        for name, each in (("mean", made.mean), ("std", made.std)):
            if len(each) != made.in_channels:
                raise RecipeError(f"{source}: {name} has {len(each)} numbers for in_channels={made.in_channels}")
        return made


FROM_DATA = {
    "atrous", "data", "fingerprint", "train_images", "val_images", "in_channels", "weights", "dtype", "mean", "std",
    "transform", "fold", "extended", "distil_digest", "valid_area", "volume",
}  # fmt: skip
"""Fields that nobody chooses by name: they follow from the data, the weights and other options."""

ANY: dict[str, Any] = {
    "atrous": "", "data": "", "fingerprint": "", "train_images": 1, "model": "", "in_channels": 1, "mean": (0.0,),
    "std": (1.0,), "crop": (1, 1), "lr": 1.0, "batch": 2**31,
}  # fmt: skip
"""Values for the fields that have no default, with which a part of a recipe is checked."""


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_toml(path)
    except DataError as error:
        raise RecipeError(str(error)) from error
    if "atrous" in values and isinstance(values.get("options"), dict):  # a run's, perhaps of 0.1
        values["options"] = options_today(str(values.get("model")), values["options"])
    return values
