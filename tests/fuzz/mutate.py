"""Damaged files, drawn from a seed."""

from collections.abc import Iterator

import numpy as np

# Values at which readers' arithmetic goes wrong.
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)


def mutations(originals: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yields `count` damaged copies of whole files.

    Each copy has one to four of: bytes replaced, an integer set to an edge value, a block cut out, doubled, zeroed or
    taken from another file, the end cut off.
    """
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        data = bytearray(originals[rng.integers(len(originals))])
        for _ in range(rng.integers(1, 5)):
            data = _mutate(data, originals, rng)
        yield bytes(data)


def _mutate(data: bytearray, originals: list[bytes], rng: np.random.Generator) -> bytearray:
    if not data:
        return bytearray(rng.bytes(16))
    # Half of the time near the beginning: most of what a reader trusts stands in the header.
    start = int(rng.integers(min(len(data), 256) if rng.random() < 0.5 else len(data)))
    length = int(rng.integers(1, 1 + min(64, len(data) - start)))
    match rng.integers(7):
        case 0:
            data[start : start + length] = rng.bytes(length)
        case 1:
            data[start] ^= 1 << int(rng.integers(8))
        case 2:
            size = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice(_EDGES)) & (256**size - 1)
            data[start : start + size] = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")
        case 3:
            del data[start : start + length]
        case 4:
            data[start:start] = data[start : start + length]
        case 5:
            other = originals[rng.integers(len(originals))]
            at = int(rng.integers(max(1, len(other))))
            data[start : start + length] = other[at : at + length]
        case 6:
            del data[start:]
    return data
