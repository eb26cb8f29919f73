"""The numbers of generators, as ratios from one run: `python -m tests.bench.generators [--quick] [--store STORE]`.

A step of FastGAN against a plain one, cubes a second of every sampler, two workers against one, and, with a store and not
quickly, how good every generator is after the same time (`generator_quality`). Each part is a process of its own. `--quick`
goes through everything on little and judges no time.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("generator_step", "generator_sampling", "generator_workers")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--store", help="a store of real or stand-in lesions for generator_quality (hours)")
    parser.add_argument("--out", default="runs/generator_quality", help="where generator_quality writes")
    asked = parser.parse_args()
    met = {part: _alone(part, *(["--quick"] if asked.quick else [])) for part in PARTS}
    if asked.store and not asked.quick:
        met["generator_quality"] = _alone("generator_quality", asked.store, asked.out)
    elif not asked.quick:
        print("generator_quality: no store was given (STORE=…), nothing is measured")
    missed = [part for part, well in met.items() if not well]
    said = "went through; no time was judged" if asked.quick else "met what is wanted"
    print(f"{len(met) - len(missed)} of {len(met)} parts {said}{'; not ' + ', '.join(missed) if missed else ''}")
    return int(bool(missed))


def _alone(part: str, *arguments: str) -> bool:
    print(f"== {part}", flush=True)
    return subprocess.run([sys.executable, "-m", f"tests.bench.{part}", *arguments], cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
