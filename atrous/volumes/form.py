"""In what form a network sees volumes: the grid, the order of axes, how numbers are normalised, the patch.

It stands in the recipe and in the card, so that what is predicted is prepared as what was trained on.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Number = Annotated[float, Field(ge=-1e30, le=1e30)]
Spacing = Annotated[float, Field(ge=1e-4, le=1e4)]
Side = Annotated[int, Field(ge=1, le=2**12)]
Axis = Literal[0, 1, 2]


class Channel(BaseModel):
    """How the numbers of one channel are normalised."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    channel: str = Field("", description='Name of the channel, such as "CT" or "T1".')
    scheme: Literal["ct", "z-score", "by 255", "to 0..1", "none"] = Field(
        description="ct: clipped to `clip`, less `mean`, over `std`. z-score: less the mean of the case, over its "
        "standard deviation."
    )
    clip: tuple[Number, Number] | None = Field(None, description="ct: least and greatest number, in HU.")
    mean: Number | None = Field(None, description="ct: mean over the foreground, in HU.")
    std: Annotated[float, Field(ge=1e-8, le=1e30)] | None = Field(None, description="ct: its standard deviation.")
    inside_only: bool = Field(False, description="z-score: of the voxels that are not 0 alone; the others stay 0.")

    @model_validator(mode="after")
    def _complete(self) -> "Channel":
        if self.scheme == "ct" and (self.clip is None or self.mean is None or self.std is None):
            raise ValueError("the scheme ct needs clip, mean and std")
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip goes from {self.clip[0]:g} to {self.clip[1]:g}; expected the smaller one first")
        return self


class VolumeForm(BaseModel):
    """The form of the volumes that a network is given, in the order of its own axes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    spacing: tuple[Spacing, Spacing, Spacing] = Field(description="mm between voxels along the network's axes.")
    axes: tuple[Axis, Axis, Axis] = Field(
        (0, 1, 2), description="The network's axes: 0 goes to the head, 1 to the back, 2 to the left (D, H, W)."
    )
    orientation: Literal["standard", "file"] = Field(
        "standard",
        description="standard: D goes to the head, H to the back, W to the left, however files store them. file: the "
        "axes of the files, as they are.",
    )
    channels: tuple[Channel, ...] = Field(min_length=1, description="Normalisation of each channel.")
    patch: tuple[Side, Side, Side] = Field(description="Voxels that the network sees at once.")
    mirror: tuple[Axis, ...] = Field(
        (0, 1, 2), description="The network's axes along which mirror images are as likely."
    )

    @model_validator(mode="after")
    def _each_once(self) -> "VolumeForm":
        if sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f"axes {list(self.axes)}; expected 0, 1 and 2, each once")
        if len(set(self.mirror)) != len(self.mirror):
            raise ValueError(f"mirror {list(self.mirror)}; expected each axis once")
        return self

    @property
    def thick(self) -> bool:
        """Whether slices are over three times as thick as pixels are wide: nothing is made up between them."""
        return max(self.spacing) / min(self.spacing) > THICK


THICK = 3.0
"""Spacing of the coarsest axis over that of the finest, beyond which the coarse axis takes the nearest slice."""
