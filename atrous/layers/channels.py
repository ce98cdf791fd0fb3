"""Numbers that belong to red, green and blue, for inputs of any number of channels."""

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD


def per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Spread red, green and blue values over `channels`: their mean for one, else in turn.

    timm adapts the first filters in the same way: summed for one channel, repeated and scaled for
    more.
    """
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))


def imagenet_statistics(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel of images in 0..1, as ImageNet weights expect them."""
    return per_channel(IMAGENET_DEFAULT_MEAN, channels), per_channel(IMAGENET_DEFAULT_STD, channels)
