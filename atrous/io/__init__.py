"""From files to arrays and back: photos, masks, lists of inputs. Nothing here imports torch."""

from atrous.io.extras import there
from atrous.io.images import (
    MAX_PIXELS,
    decode_image,
    image_size,
    read_image,
    read_valid,
    valid_pixels,
    write_fitting,
    write_image,
)
from atrous.io.masks import mask_palette, nodata_value, read_mask, read_stored, write_mask, write_values
from atrous.io.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES, find_images, is_picture, is_zarr, no_such_path
from atrous.io.pictures import ArrayPicture, Picture, is_mapped, open_picture, strips
from atrous.io.sinks import LabelWriter, overlay_of, target_of, uncertain_of

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "VIDEO_SUFFIXES",
    "ArrayPicture",
    "LabelWriter",
    "Picture",
    "decode_image",
    "find_images",
    "image_size",
    "is_mapped",
    "is_picture",
    "is_zarr",
    "mask_palette",
    "no_such_path",
    "nodata_value",
    "open_picture",
    "overlay_of",
    "read_image",
    "read_mask",
    "read_stored",
    "read_valid",
    "strips",
    "target_of",
    "there",
    "uncertain_of",
    "valid_pixels",
    "write_fitting",
    "write_image",
    "write_mask",
    "write_values",
]
