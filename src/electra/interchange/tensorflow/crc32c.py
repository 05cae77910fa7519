"""CRC-32C, the checksum in TensorFlow's files, by NumPy: what no package that training needs can compute.

The remainder of a text of words is linear in each of them. So a text may be laid into rows of equal length, one below
the other, and summed up: what is above is multiplied by x^(bits of a row) before the next row is added. What is left, a
single row, has the same remainder as the whole.
"""

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
ROWS = (1 << 13, 1 << 7)  # words of a row, first of all the text and then of the row that is left
MASK_ROTATION, MASK_SUM = 15, 0xA282EAD8  # TensorFlow stores a checksum so changed, as LevelDB does


def compute_crc32c(data: bytes | np.ndarray) -> int:
    """The CRC-32C of some bytes, or of an array's."""
    octets = np.frombuffer(data, np.uint8)
    if padding := -len(octets) % 4:
        octets = np.concatenate([np.zeros(padding, np.uint8), octets])  # zeros before a text change no remainder
    words = octets.view("<u4")
    for width in ROWS:
        if len(words) > width:
            words = sum_rows(words, width)
    remainder, steps = 0, step_table()
    for octet in words.tobytes():
        remainder = steps[(remainder ^ octet) & 0xFF] ^ (remainder >> 8)
    size = len(octets) - padding
    return remainder ^ multiply(list_images(size), 0xFFFFFFFF) ^ 0xFFFFFFFF  # it begins with ones, and ends inverted


def mask_checksum(checksum: int) -> int:
    """A checksum as TensorFlow stores it."""
    rotated = (checksum >> MASK_ROTATION) | (checksum << (32 - MASK_ROTATION))
    return (rotated + MASK_SUM) & 0xFFFFFFFF


def sum_rows(words: np.ndarray, width: int) -> np.ndarray:
    """``width`` words, uint32, with the same remainder as ``words``."""
    low, high = shift_tables(4 * width)
    first = len(words) % width
    total = np.zeros(width, np.uint32)
    total[width - first :] = words[:first]
    for row in words[first:].reshape(-1, width):
        total = low[total & 0xFFFF] ^ high[total >> 16] ^ row
    return total


@cache
def step_table() -> list[int]:
    """What each value of the lowest byte of a remainder becomes when one more byte is read."""
    return [multiply(list_images(1), value) for value in range(256)]


@cache
def shift_tables(size: int) -> tuple[np.ndarray, np.ndarray]:
    """What each value of the lower and of the upper half of a remainder becomes when ``size`` zero bytes are read."""
    images, tables = list_images(size), []
    for half in (images[:16], images[16:]):
        table = np.zeros(1 << 16, np.uint32)
        for bit, image in enumerate(half):
            table[1 << bit : 2 << bit] = table[: 1 << bit] ^ np.uint32(image)
        tables.append(table)
    return tables[0], tables[1]


@cache
def list_images(size: int) -> list[int]:
    """What each bit of a remainder, alone, becomes when ``size`` zero bytes are read: a matrix, by its columns."""
    if size == 0:
        return [1 << bit for bit in range(32)]
    if size == 1:
        images = [1 << bit for bit in range(32)]
        for _ in range(8):
            images = [(image >> 1) ^ (POLYNOMIAL if image & 1 else 0) for image in images]
        return images
    half, rest = list_images(size // 2), list_images(size % 2)
    return [multiply(half, multiply(half, image)) for image in rest]


def multiply(images: list[int], value: int) -> int:
    """The sum of the images of the bits that are set in ``value``."""
    total = 0
    for bit, image in enumerate(images):
        if value >> bit & 1:
            total ^= image
    return total
