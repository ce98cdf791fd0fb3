"""From files to arrays and back: photos, index masks, lists of inputs. Nothing here imports torch."""

from atrous.io.images import MAX_PIXELS, decode_image, image_size, read_image, write_image
from atrous.io.masks import mask_palette, read_mask, write_mask
from atrous.io.paths import IMAGE_SUFFIXES, find_images, is_picture, no_such_path

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "decode_image",
    "find_images",
    "image_size",
    "is_picture",
    "mask_palette",
    "no_such_path",
    "read_image",
    "read_mask",
    "write_image",
    "write_mask",
]
