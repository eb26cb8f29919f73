"""The power and the false alarms of the memorisation audit on the phantom: `python -m tests.bench.audit [--quick]`.

A row is a synthetic set whose answer is known, audited against 300 training lesions at 32 px with 100 held out (rows named
"of 50", "of 500": other numbers). "found" is the share of the copies that are named with the right lesion, "accused" the
share of the other cubes that are named. Wanted: `WANTED` of the copies at exposure .7 to 1.3, any angle and shifts up to an
eighth, and no fresh set called memorised, blurred and averaged lesions included. Rows below the line tell what is beyond:
they are printed and not judged.

Then come derived sets, made from the pseudo-RGB of train lesions: see `tests.bench.derived`.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from hyperderm.metrics.camera_changes import CameraChange, camera_copy
from hyperderm.metrics.memorisation import Audit, Auditor, Reference
from hyperderm.phantom.rendering import phantom
from tests.bench import derived

SIDE, WANTED = 32, 0.95
NOISE = 0.006
Change = Callable[[Tensor, np.random.Generator], Tensor]


class Row(NamedTuple):
    """One set: its name, its cubes, the train row of each copy (-1: none), the audit's data, and whether it is judged."""

    name: str
    cubes: Tensor
    copied: np.ndarray
    train: int = 300
    held_out: int = 100
    judged: bool = True


@cache
def lesions(count: int, seed: int) -> Tensor:
    """Return phantom lesions (count, 16, SIDE, SIDE)."""
    cubes = [one.lesion.cube.reflectance for one in phantom(count, SIDE, seed)]
    return torch.from_numpy(np.moveaxis(np.stack(cubes), 3, 1).copy())


def copies(change: Change, count: int, train: int, seed: int = 0) -> tuple[Tensor, np.ndarray]:
    """Return `count` changed train lesions and their rows."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(train)[:count]
    data = lesions(train, 0)
    return torch.cat([change(data[row : row + 1], rng) for row in rows]), rows


def sets(count: int) -> Iterator[Row]:
    """Yield the rows; `count` cubes a set."""
    fresh = lesions(2 * count, 2)
    none = np.full(count, -1)
    for name, change in {
        "copies x exposure 1.15": CameraChange(exposure=1.15, noise=NOISE),
        "copies x exposure 1.3": CameraChange(exposure=1.3, noise=NOISE),
        "copies x exposure .7": CameraChange(exposure=0.7, noise=NOISE),
        "copies, gains of bands ± 3 %": CameraChange(band_gain=0.03, noise=NOISE),
        "copies turned 15°": CameraChange(turn=15),
        "copies turned 160°, mirrored": CameraChange(turn=160, mirrored=True),
        "copies shifted 3 px": CameraChange(shift=(3 / SIDE, 0)),
        "copies shifted an eighth": CameraChange(shift=(0.125, -0.125)),
        "copies blurred, σ 1 px": CameraChange(blur=1),
        "copies, all of that drawn": camera_copy,
    }.items():
        yield Row(name, *copies(change, count, 300))
    for train in (50, 500):
        yield Row(f"copies, all drawn, of {train}", *copies(camera_copy, min(count, train), train), train=train)
    few = max(1, count // 20)
    made, rows = copies(CameraChange(exposure=1.2, noise=NOISE), few, 300)
    yield Row("5 % copies at 1.2 among fresh", torch.cat([made, fresh[few:count]]), np.r_[rows, none[few:]])
    yield Row("fresh lesions", fresh[:count], none)
    yield Row("fresh lesions, 12 held out", fresh[count:], none, held_out=12)
    for train in (50, 500):
        yield Row(f"fresh lesions against {train}", fresh[:count], none, train=train)
    for sigma in (1.0, 2.0, 4.0, 8.0):
        yield Row(f"fresh lesions blurred, σ {sigma:g} px", gaussian_blur(fresh[:count], [31, 31], [sigma] * 2), none)
    for among in (2, 4, 8):
        parts = fresh[: count // among * among].reshape(-1, among, *fresh.shape[1:])
        yield Row(f"means of {among} fresh lesions", parts.mean(1), none[: len(parts)])
    yield Row("noise", 0.3 + 0.05 * torch.randn(count, 16, SIDE, SIDE, generator=torch.Generator().manual_seed(0)), none)
    yield Row("exposure .5", *copies(CameraChange(exposure=0.5, noise=NOISE), count, 300), judged=False)
    yield Row("exposure 2", *copies(CameraChange(exposure=2.0, noise=NOISE), count, 300), judged=False)
    yield Row("shifted a quarter", *copies(CameraChange(shift=(0.25, 0)), count, 300), judged=False)
    yield Row("cropped to 80 %", *copies(CameraChange(zoom=1.25), count, 300), judged=False)
    yield Row("blurred, σ 2 px", *copies(CameraChange(blur=2), count, 300), judged=False)
    one, row = copies(camera_copy, 1, 300)
    yield Row("1 copy among fresh", torch.cat([one, fresh[1:count]]), np.r_[row, none[1:]], judged=False)
    for among in (2, 4, 8):
        parts = lesions(300, 0)[: min(count, 300 // among) * among].reshape(-1, among, *fresh.shape[1:])
        yield Row(f"means of {among} train lesions", parts.mean(1), np.full(len(parts), -1), judged=False)


@cache
def reference(train: int, held_out: int) -> Reference:
    """Return what the sets of a row are audited against."""
    return Reference(lesions(train, 0), lesions(100, 1)[:held_out])


def audit(row: Row) -> Audit:
    """Return the audit of a set."""
    auditor = Auditor(reference(row.train, row.held_out))
    auditor.add(row.cubes)
    return auditor.result()


def judge(row: Row, found: Audit) -> tuple[float, float, bool]:
    """Return the share of copies found, the share of other cubes accused, and whether that is as wanted."""
    named = {copy.position: int(copy.lesion) for copy in found.copies}
    copied = np.flatnonzero(row.copied >= 0)
    right = sum(named.get(int(at)) == row.copied[at] for at in copied)
    wrong = len(set(named) - set(copied.tolist()))
    power = right / len(copied) if len(copied) else float("nan")
    well = found.memorised == bool(len(copied)) and not power < WANTED
    return power, wrong / max(1, len(row.cubes) - len(copied)), well


def main() -> int:
    """Print both tables; the exit code is 1 if a judged row is not as wanted."""
    failed, quick = 0, "--quick" in sys.argv
    print(f"{'set':34}  found  accused  memorised  median  threshold  its own trial")
    for row in sets(40 if quick else 200):
        found = audit(row)
        power, accused, well = judge(row, found)
        failed += row.judged and not well
        mark = "" if not row.judged else "ok" if well else "NOT AS WANTED"
        share = "     " if np.isnan(power) else f"{power:5.0%}"
        print(
            f"{row.name:34}  {share}  {accused:7.1%}  {'yes' if found.memorised else 'no':9}  {found.median_synthetic:6.2f}"
            f"  {found.threshold:9.2f}  {found.found} of {found.changed}  {mark}",
            flush=True,
        )
    print()
    for line, well in derived.table(10 if quick else 100):
        failed += not well
        print(line, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
