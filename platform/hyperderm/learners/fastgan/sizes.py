"""What FastGAN can build: sizes, sides of maps, numbers of channels, pairs of maps (METHODS section 5). Free of torch."""

SIZES = (16, 32, 64, 128, 256)
"""Sides of cubes in pixels."""

LAST_SIDE = 8
"""Side of the discriminator's last maps; a kernel of 4 pixels makes 5 x 5 logits of them."""

QUADRANT_SIDE = 16
"""Side of the discriminator's map whose quadrant is decoded."""

_MULTIPLES = {4: 16.0, 8: 8.0, 16: 4.0, 32: 2.0, 64: 2.0, 128: 1.0, 256: 0.5, 512: 0.25}


def check_size(size: int) -> int:
    """Return the size, the side of the cubes in pixels.

    Raises:
        ValueError: FastGAN cannot be built for it; the message names the sizes that can be chosen.
    """
    if size not in SIZES:
        near = min(SIZES, key=lambda each: (abs(each - size), each))
        raise ValueError(
            f"FastGAN doubles a map of 4 pixels and does not come to {size}. Choose {', '.join(map(str, SIZES))}; "
            f"{near} is nearest"
        )
    return size


def channels(width: int, side: int) -> int:
    """Return the number of channels of maps of `side` pixels: ngf = `width` times 16 at 4 px … 1/4 at 512 px, at least 1."""
    return max(1, int(width * _MULTIPLES[side]))


def small_side(size: int) -> int:
    """Return the side of the second, small cube: half the size, which is 128 px at 256 px."""
    return size // 2


def doubled_sides(size: int) -> list[int]:
    """Return the sides of the generator's maps after the first one of 4 pixels: 8, 16, … `size`."""
    return [side for side in _MULTIPLES if 4 < side <= size]


def generator_gates(size: int) -> dict[int, int]:
    """Return which map gates which in the generator, {side of the gated map: side of the map that gates it}.

    The pairs are 4→64, 8→128 and 16→256 as far as the gated map exists: there is none at 16 and 32 px.
    """
    return {high: low for high, low in ((64, 4), (128, 8), (256, 16)) if high <= size}


def discriminator_gates(size: int) -> dict[int, int]:
    """Return which map gates which in the discriminator, {side of the gated map: side of the map that gates it}.

    The paper's pairs 2→16, 4→32 and 8→64 are counted in its halvings. In sides at 256 px these are 256→32, 128→16 and 64→8.
    Smaller sizes have the pairs whose first map exists: there is none at 16 and 32 px.
    """
    return {low: high for low, high in ((32, 256), (16, 128), (8, 64)) if high <= size}
