"""Numbers that belong to red, green and blue, for inputs of any number of channels."""


def per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Spread values per RGB channel over `channels`: their mean for one, repeated in order for more.

    This is how timm adapts the first filters: summed for one channel, repeated (and scaled) for more.
    """
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))
