"""Masks as run lengths: COCO's two forms and Label Studio's brush.

COCO: an H x W mask, read column by column, as the lengths of its runs of 0, 1, 0, ... `counts` is
this list, or a text. In the text each number stands in groups of 5 bits, low groups first, one
character from '0' (48) on for each group. Bit 32 of a character tells that another group follows;
bit 16 of the last group is the sign. From the fourth number on, the text holds the difference to
the number two before.

Label Studio: bits, from the high bit of each byte on. First 32 bits for the number of values, 5
bits for the word size - 1, four times 4 bits for a run size - 1. Then the runs: 1 bit for the kind,
2 bits for one of the four run sizes, so many bits for the length - 1, then one word that is
repeated (kind 1) or `length` words (kind 0). The values are RGBA, row by row.

Run lengths that do not fit the image raise a ValueError that tells what was found.

Source: COCO's API, common/maskApi.h; @thi.ng/rle-pack, which writes Label Studio's `format: rle`.
"""

from collections.abc import Sequence

import numpy as np


def decode_counts(counts: Sequence[int] | str | bytes | np.ndarray, height: int, width: int) -> np.ndarray:
    """Decode COCO's counts, text or numbers, into bool (H, W)."""
    runs = runs_of(counts) if isinstance(counts, str | bytes) else np.asarray(counts, np.int64)
    negative, total = runs.min(initial=0) < 0, sum(runs.tolist())  # Python's numbers: a sum of int64 can wrap
    if negative or total != height * width:
        found = "has negative runs" if negative else f"has {total} pixels"
        raise ValueError(f"the RLE {found}, its image {height} x {width} = {height * width}")
    return np.repeat(np.arange(len(runs)) & 1, runs).astype(bool).reshape(width, height).T


def runs_of(text: str | bytes) -> np.ndarray:
    """Decode COCO's compressed text into run lengths, int64."""
    data = text.encode("latin-1", "replace") if isinstance(text, str) else text
    signs = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if not len(signs) or signs.min() < 0 or signs.max() > 63 or signs[-1] & 32:
        raise ValueError("the RLE text is cut short or holds a character that cannot be in it")
    ends = np.flatnonzero(signs & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 12:
        raise ValueError("the RLE text holds a number with more than 60 bits")
    place = np.arange(len(signs)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((signs & 31) << 5 * place, starts)
    numbers -= np.where(signs[ends] & 16, np.int64(1) << 5 * lengths, 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def decode_brush(packed: Sequence[int] | bytes, height: int, width: int) -> np.ndarray:
    """Decode Label Studio's bytes into bool (H, W): the pixels that are at least half opaque."""
    data = bytes(packed)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    data += bytes(8)
    place = 0

    def number(size: int) -> int:
        nonlocal place
        byte, offset = divmod(place, 8)
        place += size
        if place > len(bits):
            raise ValueError("the brush's RLE is cut short")
        return int.from_bytes(data[byte : byte + 8], "big") >> (64 - offset - size) & ((1 << size) - 1)

    total = number(32)
    if total != 4 * height * width:
        raise ValueError(f"the brush's RLE has {total} values, its image {height} x {width} x 4 = {4 * height * width}")
    word = number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    powers = 1 << np.arange(word)[::-1]
    values = np.empty(total, np.uint32)
    done = 0
    while done < total:
        repeated = number(1)
        end = done + 1 + number(sizes[number(2)])
        if end > total:
            raise ValueError("the brush's RLE has a run beyond the image")
        if repeated:
            values[done:end] = number(word)
        else:
            start, place = place, place + word * (end - done)
            if place > len(bits):
                raise ValueError("the brush's RLE is cut short")
            values[done:end] = bits[start:place].reshape(-1, word) @ powers
        done = end
    return values.reshape(height, width, 4)[..., 3] >= 1 << (word - 1)
