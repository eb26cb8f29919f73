"""The networks of FastGAN (Liu et al., ICLR 2021; METHODS section 5) for any number of bands B. Cubes are (N, B, H, W).

Built from the paper and METHODS, not from its code. Where these leave a choice, this project chose: one table of widths
(`sizes.channels`) for both networks; the full cube is made by a kernel of 3 pixels, the small one by 1; no convolution has a
bias; the small cube's way through the discriminator halves by plain `layers.Down`; decoders have half the table's width.
Nothing here draws random numbers after the initial weights: noise and quadrants are arguments.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from hyperderm.learners.critics import Projection
from hyperderm.learners.fastgan.layers import Down, DownResidual, Excitation, FirstMap, Norm, Up, UpComp, conv, normalised
from hyperderm.learners.fastgan.sizes import (
    LAST_SIDE,
    QUADRANT_SIDE,
    channels,
    check_size,
    discriminator_gates,
    doubled_sides,
    generator_gates,
    small_side,
)

COMP_SIDES = (8, 32, 128)
"""Sides of the generator's maps that are made by `UpComp`; the others are made by `Up`."""

QUADRANTS = 4


class FastGanGenerator(nn.Module):
    """Generator from noise to a cube, with skip-layer excitation from maps of few pixels to maps of many.

    Args:
        bands: B.
        width: ngf, channels at 128 px; see `sizes.channels`.
        size: H = W, see `sizes.SIZES`.
        noise_dim: Z, length of z.
        classes: number of classes, 0 for none; the embedding of the class is added to z.
        norm: batch norm as in the paper, or layer norm, which does not depend on the batch.

    Raises:
        ValueError: the size cannot be built.

    Shape: see `forward`.
    """

    def __init__(
        self, bands: int, width: int = 64, size: int = 256, noise_dim: int = 256, classes: int = 0, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        self.size, self.sides, self.pairs = check_size(size), doubled_sides(size), generator_gates(size)
        self.embedding = nn.Embedding(classes, noise_dim) if classes else None
        self.first = FirstMap(noise_dim, channels(width, 4), norm)
        blocks = {
            str(side): (UpComp if side in COMP_SIDES else Up)(channels(width, side // 2), channels(width, side), norm)
            for side in self.sides
        }
        self.blocks = nn.ModuleDict(blocks)
        gates = {str(high): Excitation(channels(width, low), channels(width, high)) for high, low in self.pairs.items()}
        self.gates = nn.ModuleDict(gates)
        self.to_full = conv(channels(width, size), bands, 3, padding=1)
        self.to_small = conv(channels(width, small_side(size)), bands, 1)

    def noise_shapes(self) -> list[tuple[int, int, int]]:
        """Return the shapes (1, side, side) of one cube's noise maps, in the order in which `forward` takes them."""
        return [(1, side, side) for side in self.sides if side in COMP_SIDES for _ in range(2)]

    def forward(
        self,
        z: Tensor,
        y: Tensor | None = None,
        style: Tensor | None = None,
        noise: Sequence[Tensor] | None = None,
        both: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Map noise to cubes in [-1, 1].

        Style mixing: all maps are made from z, but the maps of 4, 8 and 16 px that feed the gates of skip-layer excitation
        are made from `style`, with the same class and noise maps. So layout comes from z, and the strength of each channel
        of the maps of 64, 128 and 256 px comes from `style`. `style=z` changes no bit in evaluation mode.

        Args:
            z: (N, Z) standard normal noise.
            y: (N,) int64 classes, where there are classes.
            style: (N, Z) noise that the gates are made from; None for z.
            noise: maps (N, *shape) for the shapes of `noise_shapes`, standard normal; None adds none, as in evaluation.
            both: whether to return the small cube too.

        Returns:
            The cubes (N, B, H, W), or with `both` the pair of them and of the small cubes (N, B, H/2, W/2) that the
            discriminator sees beside them.

        Raises:
            ValueError: style where the size has no gates, or a wrong number of noise maps.
        """
        if style is not None and not self.pairs:
            raise ValueError(f"a FastGAN of {self.size} px has no styles: skip-layer excitation begins at 64 px")
        maps = self._maps_of(noise)
        lows = None if style is None else self._lows(self._with_class(style, y), maps)
        x = self.first(self._with_class(z, y))
        own = {4: x}
        for side in self.sides:
            x = self.blocks[str(side)](x, maps[side])
            if side in self.pairs:
                x = x * self.gates[str(side)]((own if lows is None else lows)[self.pairs[side]])
            own[side] = x
        full = torch.tanh(self.to_full(x))
        if not both:
            return full
        return full, torch.tanh(self.to_small(own[small_side(self.size)]))

    def _lows(self, z: Tensor, maps: dict[int, tuple[Tensor, ...]]) -> dict[int, Tensor]:
        """Return the maps of z that feed gates, and those between, by side."""
        x = self.first(z)
        lows = {4: x}
        for side in self.sides:
            if side <= max(self.pairs.values()):
                x = lows[side] = self.blocks[str(side)](x, maps[side])
        return lows

    def _with_class(self, z: Tensor, y: Tensor | None) -> Tensor:
        return z if self.embedding is None else z + self.embedding(y)

    def _maps_of(self, noise: Sequence[Tensor] | None) -> dict[int, tuple[Tensor, ...]]:
        """Return the noise maps of each block, by side."""
        if noise is None:
            return dict.fromkeys(self.sides, ())
        wanted = len(self.noise_shapes())
        if len(noise) != wanted:
            raise ValueError(f"{len(noise)} noise maps were given to a FastGAN of {self.size} px, which takes {wanted}")
        pairs = zip(noise[::2], noise[1::2], strict=True)
        return {side: next(pairs) if side in COMP_SIDES else () for side in self.sides}


class FastGanDiscriminator(nn.Module):
    """Discriminator of a full and a small cube, which also rebuilds real cubes from its maps.

    Args:
        bands: B.
        width: channels at 128 px, see `sizes.channels`.
        size: H = W of the full cube, see `sizes.SIZES`.
        classes: number of classes, 0 for none. With classes, ⟨e(y), φ⟩ is added to all logits (see `critics.Projection`),
            where φ is the mean over the pixels of the last map of the full cube.
        norm: batch norm as in the paper, or layer norm, which does not depend on the batch.

    Raises:
        ValueError: the size cannot be built.

    Shape: see `forward`.
    """

    def __init__(self, bands: int, width: int = 64, size: int = 256, classes: int = 0, norm: Norm = "batch") -> None:
        super().__init__()
        self.size, self.pairs = check_size(size), discriminator_gates(size)
        self.sides = [side for side in reversed(doubled_sides(size)) if side < size]
        self.stem = nn.Sequential(conv(bands, channels(width, 2 * size), 3, padding=1), nn.LeakyReLU(0.2, inplace=True))
        blocks = {str(side): DownResidual(channels(width, 4 * side), channels(width, 2 * side), norm) for side in self.sides}
        self.blocks = nn.ModuleDict(blocks)
        gates = {
            str(low): Excitation(channels(width, 2 * high), channels(width, 2 * low)) for low, high in self.pairs.items()
        }
        self.gates = nn.ModuleDict(gates)
        last, hidden = channels(width, 2 * LAST_SIDE), channels(width, LAST_SIDE)
        self.logits = nn.Sequential(
            conv(last, hidden, 1), normalised(hidden, norm), nn.LeakyReLU(0.2, inplace=True), conv(hidden, 1, 4)
        )
        self.small = _small_path(bands, width, small_side(size), norm)
        last_small = channels(width, 4 * LAST_SIDE)
        self.small_logits = conv(last_small, 1, 4)
        self.decode_whole = _decoder(last, bands, width, small_side(size), norm)
        self.decode_small = _decoder(last_small, bands, width, small_side(size), norm)
        self.decode_quadrant = _decoder(channels(width, 2 * QUADRANT_SIDE), bands, width, small_side(size), norm)
        self.projection = Projection(classes, last, "spectral") if classes else None

    def forward(
        self, full: Tensor, small: Tensor, y: Tensor | None = None, part: int | None = None
    ) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return the logits of cubes; larger means more real. With `part` also rebuild the cubes.

        Args:
            full: (N, B, H, W) cubes.
            small: (N, B, H/2, W/2): the generator's second output, or `halved` of real cubes.
            y: (N,) int64 classes, where there are classes.
            part: which quadrant is rebuilt, see `quadrant`; None to rebuild nothing.

        Returns:
            Logits (N, 50): 5 x 5 of the full cube, then 5 x 5 of the small one. With `part` also three cubes
            (N, B, H/2, W/2) in [-1, 1], which are to be like `targets`.
        """
        x = self.stem(full)
        maps = {self.size: x}
        for side in self.sides:
            x = self.blocks[str(side)](x)
            if side in self.pairs:
                x = x * self.gates[str(side)](maps[self.pairs[side]])
            maps[side] = x
        last_small = self.small(small)
        logits = torch.cat([self.logits(x).flatten(1), self.small_logits(last_small).flatten(1)], 1)
        if self.projection is not None:
            logits = logits + self.projection(x.mean((2, 3)), y)[:, None]
        if part is None:
            return logits
        piece = self.decode_quadrant(quadrant(maps[QUADRANT_SIDE], part))
        return logits, (self.decode_whole(x), self.decode_small(last_small), piece)


def halved(cubes: Tensor) -> Tensor:
    """Return cubes (N, B, H, W) at half the size, by the mean of 2 x 2 pixels: (N, B, H/2, W/2)."""
    return avg_pool2d(cubes, 2)


def quadrant(maps: Tensor, part: int) -> Tensor:
    """Return one quarter of maps or cubes (N, C, H, W): (N, C, H/2, W/2).

    Args:
        maps: with even H and W.
        part: 0 upper left, 1 upper right, 2 lower left, 3 lower right.

    Raises:
        ValueError: another part.
    """
    if part not in range(QUADRANTS):
        raise ValueError(f"part {part} is none of the quadrants 0, 1, 2, 3")
    h, w = maps.shape[2] // 2, maps.shape[3] // 2
    row, column = divmod(part, 2)
    return maps[:, :, row * h : (row + 1) * h, column * w : (column + 1) * w]


def targets(cubes: Tensor, part: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the three decoders are to rebuild of real cubes (N, B, H, W): each (N, B, H/2, W/2).

    These are the halved cube for the first two, and the quadrant `part` in full detail for the third.
    """
    small = halved(cubes)
    return small, small, quadrant(cubes, part)


def _small_path(bands: int, width: int, side: int, norm: Norm) -> nn.Sequential:
    """Return the way of the small cube of `side` pixels to 8 x 8 maps; at 8 px there is nothing to halve."""
    if side == LAST_SIDE:
        return nn.Sequential(conv(bands, channels(width, 4 * side), 3, padding=1), nn.LeakyReLU(0.2, inplace=True))
    layers: list[nn.Module] = [conv(bands, channels(width, 2 * side), 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    side //= 2
    while side > LAST_SIDE:
        layers.append(Down(channels(width, 4 * side), channels(width, 2 * side), norm))
        side //= 2
    return nn.Sequential(*layers)


def _decoder(inputs: int, bands: int, width: int, side: int, norm: Norm) -> nn.Sequential:
    """Return a decoder of 8 x 8 maps: as many `Up` as lead to `side` pixels, with half the table's width, and a tanh."""
    sides = [each for each in doubled_sides(side) if each > LAST_SIDE]
    widths = [inputs, *(max(1, channels(width, each) // 2) for each in sides)]
    layers: list[nn.Module] = [Up(a, b, norm) for a, b in pairwise(widths)]
    return nn.Sequential(*layers, conv(widths[-1], bands, 3, padding=1), nn.Tanh())
