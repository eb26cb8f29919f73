"""FastGAN as one would write it from METHODS section 5 without a thought of speed: what ours is compared with.

Plain modules in the default memory format, torch's own spectral norm and GLU, doubling and convolution one after the other.
The names of the weights are those of `hyperderm.learners.fastgan.networks`, so that weights can be loaded across. Nothing
else is shared, and nothing of hyperderm is imported. No classes and no style mixing.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, 512: 0.25}


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Module:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    nn.init.normal_(layer.weight, 0, 0.02)
    return spectral_norm(layer)


def batch_norm(channels: int) -> nn.Module:
    layer = nn.BatchNorm2d(channels)
    nn.init.normal_(layer.weight, 1, 0.02)
    return layer


def table(width: int) -> dict[int, int]:
    return {side: max(1, int(width * times)) for side, times in WIDTHS.items()}


class First(nn.Module):
    def __init__(self, noise_dim: int, channels: int) -> None:
        super().__init__()
        layer = nn.ConvTranspose2d(noise_dim, 2 * channels, 4, bias=False)
        nn.init.normal_(layer.weight, 0, 0.02)
        self.conv = spectral_norm(layer)
        self.norm = batch_norm(2 * channels)
        self.glu = nn.GLU(1)

    def forward(self, z: Tensor) -> Tensor:
        return self.glu(self.norm(self.conv(z[:, :, None, None])))


class Up(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.conv = conv(inputs, 2 * channels, 3, padding=1)
        self.norm = batch_norm(2 * channels)
        self.glu = nn.GLU(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.glu(self.norm(self.conv(self.up(x))))


class Noise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.scale * noise


class UpComp(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.conv1 = conv(inputs, 2 * channels, 3, padding=1)
        self.noise1 = Noise()
        self.norm1 = batch_norm(2 * channels)
        self.conv2 = conv(channels, 2 * channels, 3, padding=1)
        self.noise2 = Noise()
        self.norm2 = batch_norm(2 * channels)
        self.glu = nn.GLU(1)

    def forward(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        x = self.glu(self.norm1(self.noise1(self.conv1(self.up(x)), first)))
        return self.glu(self.norm2(self.noise2(self.conv2(x), second)))


class Excitation(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.net = nn.Sequential(conv(inputs, outputs, 4), nn.SiLU(), conv(outputs, outputs, 1), nn.Sigmoid())

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return high * self.net(self.pool(low))


class PlainGenerator(nn.Module):
    """z (N, noise_dim) and noise maps -> the full cube (N, bands, size, size) and the small one of half the size."""

    def __init__(self, bands: int, width: int = 64, size: int = 256, noise_dim: int = 256) -> None:
        super().__init__()
        nfc = table(width)
        self.size = size
        self.first = First(noise_dim, nfc[4])
        blocks: dict[str, nn.Module] = {"8": UpComp(nfc[4], nfc[8]), "16": Up(nfc[8], nfc[16])}
        gates: dict[str, nn.Module] = {}
        if size >= 32:
            blocks["32"] = UpComp(nfc[16], nfc[32])
        if size >= 64:
            blocks["64"] = Up(nfc[32], nfc[64])
            gates["64"] = Excitation(nfc[4], nfc[64])
        if size >= 128:
            blocks["128"] = UpComp(nfc[64], nfc[128])
            gates["128"] = Excitation(nfc[8], nfc[128])
        if size >= 256:
            blocks["256"] = Up(nfc[128], nfc[256])
            gates["256"] = Excitation(nfc[16], nfc[256])
        self.blocks, self.gates = nn.ModuleDict(blocks), nn.ModuleDict(gates)
        self.to_full = conv(nfc[size], bands, 3, padding=1)
        self.to_small = conv(nfc[size // 2], bands, 1)

    def forward(self, z: Tensor, noise: list[Tensor]) -> tuple[Tensor, Tensor]:
        x4 = self.first(z)
        x8 = self.blocks["8"](x4, noise[0], noise[1])
        x16 = self.blocks["16"](x8)
        maps = {8: x8, 16: x16}
        if self.size >= 32:
            maps[32] = self.blocks["32"](x16, noise[2], noise[3])
        if self.size >= 64:
            maps[64] = self.gates["64"](x4, self.blocks["64"](maps[32]))
        if self.size >= 128:
            maps[128] = self.gates["128"](x8, self.blocks["128"](maps[64], noise[4], noise[5]))
        if self.size >= 256:
            maps[256] = self.gates["256"](x16, self.blocks["256"](maps[128]))
        return torch.tanh(self.to_full(maps[self.size])), torch.tanh(self.to_small(maps[self.size // 2]))


def halving(inputs: int, channels: int) -> list[nn.Module]:
    return [conv(inputs, channels, 4, 2, 1), batch_norm(channels), nn.LeakyReLU(0.2)]


class DownResidual(nn.Module):
    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *halving(inputs, channels), conv(channels, channels, 3, padding=1), batch_norm(channels), nn.LeakyReLU(0.2)
        )
        self.direct = nn.Sequential(nn.AvgPool2d(2), conv(inputs, channels, 1), batch_norm(channels), nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.direct(x)) / 2


def decoder(inputs: int, bands: int, nfc: dict[int, int], size: int) -> nn.Module:
    """From 8 x 8 to half of `size`; half as many channels as the generator has."""
    layers: list[nn.Module] = []
    for side in (16, 32, 64, 128):
        if side <= size // 2:
            channels = max(1, nfc[side] // 2)
            layers.append(Up(inputs, channels))
            inputs = channels
    return nn.Sequential(*layers, conv(inputs, bands, 3, padding=1), nn.Tanh())


class PlainDiscriminator(nn.Module):
    """Cubes of the full and of half the size -> logits (N, 50) and, with a quadrant, three cubes of half the size."""

    def __init__(self, bands: int, width: int = 64, size: int = 256) -> None:
        super().__init__()
        nfc = table(width)
        self.size = size
        self.stem = nn.Sequential(conv(bands, nfc[2 * size], 3, padding=1), nn.LeakyReLU(0.2))
        inputs, blocks = nfc[2 * size], {}
        for side, channels in ((128, nfc[256]), (64, nfc[128]), (32, nfc[64]), (16, nfc[32]), (8, nfc[16])):
            if side < size:
                blocks[str(side)] = DownResidual(inputs, channels)
                inputs = channels
        self.blocks = nn.ModuleDict(blocks)
        gates = {}
        if size >= 256:
            gates["32"] = Excitation(nfc[512], nfc[64])
        if size >= 128:
            gates["16"] = Excitation(nfc[256], nfc[32])
        if size >= 64:
            gates["8"] = Excitation(nfc[128], nfc[16])
        self.gates = nn.ModuleDict(gates)
        self.logits = nn.Sequential(conv(nfc[16], nfc[8], 1), batch_norm(nfc[8]), nn.LeakyReLU(0.2), conv(nfc[8], 1, 4))
        if size == 16:
            small: list[nn.Module] = [conv(bands, nfc[32], 3, padding=1), nn.LeakyReLU(0.2)]
        else:
            small = [conv(bands, nfc[size], 4, 2, 1), nn.LeakyReLU(0.2)]
        for inputs, channels in ((256, 128), (128, 64), (64, 32)):
            if inputs <= size:
                small.append(nn.Sequential(*halving(nfc[inputs], nfc[channels])))
        self.small = nn.Sequential(*small)
        self.small_logits = conv(nfc[32], 1, 4)
        self.decode_whole = decoder(nfc[16], bands, nfc, size)
        self.decode_small = decoder(nfc[32], bands, nfc, size)
        self.decode_quadrant = decoder(nfc[32], bands, nfc, size)

    def forward(self, full: Tensor, small: Tensor, part: int | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = self.stem(full)
        maps = {self.size: x}
        for side in (128, 64, 32, 16, 8):
            if side < self.size:
                x = self.blocks[str(side)](x)
                if str(side) in self.gates:
                    x = self.gates[str(side)](maps[{32: 256, 16: 128, 8: 64}[side]], x)
                maps[side] = x
        last_small = self.small(small)
        logits = torch.cat([self.logits(x).flatten(1), self.small_logits(last_small).flatten(1)], 1)
        if part is None:
            return logits, ()
        m = maps[16]
        piece = [m[:, :, :8, :8], m[:, :, :8, 8:], m[:, :, 8:, :8], m[:, :, 8:, 8:]][part]
        return logits, (self.decode_whole(x), self.decode_small(last_small), self.decode_quadrant(piece))
