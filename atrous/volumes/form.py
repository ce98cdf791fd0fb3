"""In what form a network sees volumes: the grid, the order of axes, how numbers are normalised, the patch.

It stands in the recipe and in the card, so that what is predicted is prepared as what was trained on.
It is the part of nnU-Net's plan (Isensee et al. 2021) that a prediction needs.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Number = Annotated[float, Field(ge=-1e30, le=1e30)]
Spacing = Annotated[float, Field(strict=True, ge=1e-6, le=1e6)]
Side = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Place = Annotated[int, Field(strict=True, ge=0, le=2)]
Axis = Literal["z", "y", "x"]
"""z goes to the head, y to the back, x to the left: the axes D, H and W of an array."""
STORED = "zyx"
THICK = 3.0
"""Spacing of the coarsest axis over that of the finest, beyond which the coarse axis takes the nearest slice."""


class Channel(BaseModel):
    """How the numbers of one channel are normalised."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    channel: str = Field(description='Name of the channel, such as "CT" or "T1".')
    scheme: Literal["ct", "z-score", "by 255", "to 0..1", "none"] = Field(
        description="ct: clipped to `clip`, less `mean`, over `std`. z-score: less the mean of the case, over its "
        "standard deviation."
    )
    clip: tuple[Number, Number] | None = Field(None, description="ct: least and greatest number, in HU.")
    mean: Number | None = Field(None, description="ct: mean over the foreground, in HU.")
    std: Annotated[float, Field(ge=1e-30, le=1e30)] | None = Field(None, description="ct: its standard deviation.")
    inside_only: Annotated[bool, Field(strict=True)] = Field(
        False, description="z-score: of the voxels that are not 0 alone; the others stay 0."
    )

    @model_validator(mode="after")
    def _complete(self) -> "Channel":
        if self.scheme == "ct" and (self.clip is None or self.mean is None or self.std is None):
            raise ValueError("the scheme ct needs clip, mean and std")
        if self.clip is not None and self.clip[0] > self.clip[1]:
            raise ValueError(f"clip is {list(self.clip)}; expected the lower number first")
        return self


class VolumeForm(BaseModel):
    """The form of the volumes that a network is given, in the order of its own axes.

    A network on slices has two numbers of spacing and two sides; the first of its axes goes across
    the slices, which keep their own distance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    spacing: tuple[Spacing, ...] = Field(
        min_length=2, max_length=3, description="mm between voxels along the network's axes."
    )
    axes: tuple[Axis, ...] = Field(
        ("z", "y", "x"),
        description="The axes of a volume in the network's order: z to the head, y to the back, x left.",
    )
    orientation: Literal["standard", "file"] = Field(
        "standard",
        description="standard: z goes to the head, y to the back, x to the left, however files store them. file: the "
        "axes of the files, as they are.",
    )
    normalisation: tuple[Channel, ...] = Field(description="How each channel is normalised.")
    patch: tuple[Side, ...] = Field(description="Voxels that the network sees at once.")
    mirror: tuple[Place, ...] = Field(
        (0, 1, 2), description="The network's axes, from 0, along which mirror images are as likely."
    )

    @model_validator(mode="after")
    def _fits(self) -> "VolumeForm":
        count = len(self.spacing)
        if sorted(self.axes) != ["x", "y", "z"]:
            raise ValueError(f"axes are {list(self.axes)}; expected z, y and x in some order")
        if len(self.patch) != count:
            raise ValueError(f"patch has {len(self.patch)} sides for {count} numbers of spacing; expected as many")
        if len(set(self.mirror)) < len(self.mirror) or any(axis >= count for axis in self.mirror):
            raise ValueError(f"mirror is {list(self.mirror)}; expected different axes from 0 to {count - 1}")
        return self

    @property
    def order(self) -> tuple[int, int, int]:
        """The axes of an array (D, H, W) in the network's order."""
        first, second, third = (STORED.index(axis) for axis in self.axes)
        return first, second, third

    @property
    def flat(self) -> bool:
        """Whether the network sees slices one by one."""
        return len(self.spacing) == 2

    @property
    def window(self) -> tuple[int, int, int]:
        """The patch along three axes; of slices one at a time."""
        depth, height, width = (1,) * self.flat + self.patch
        return depth, height, width

    def steps(self, own: tuple[float, float, float]) -> tuple[float, float, float]:
        """The spacing of three axes for a volume whose voxels are `own` mm apart."""
        depth, height, width = own[:1] * self.flat + self.spacing
        return depth, height, width

    @property
    def thick(self) -> bool:
        """Whether slices are over three times as thick as pixels are wide: nothing is made up between them."""
        return max(self.spacing) / min(self.spacing) > THICK
