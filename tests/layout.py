"""The layout rules of CONTRIBUTING that no linter knows: `python -m tests.layout` prints what breaks them."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("platform", "experiments", "search_spaces", "tests", "infra")
LONGEST = 600


def faults(root: Path) -> list[str]:
    files = [path for folder in CODE for path in sorted((root / folder).rglob("*.py"))]
    found = [
        f"{p.relative_to(root)} stands in platform/: it shadows Python's own module"
        for p in (root / "platform").glob("*.py")
    ]
    found += [
        f"tests/{name}/ shadows a module of that name" for name in ("platform", "ray") if (root / "tests" / name).exists()
    ]
    for path in files:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        lines = text.count("\n")
        if lines > LONGEST:
            found.append(f"{name} has {lines} lines, more than {LONGEST}")
        if name.startswith("platform/") and re.search(r"shell\s*=\s*True", text):
            found.append(f"{name} starts a shell")
        if re.search(r"environ|getenv", text) and name.startswith("platform/") and name not in READS_ENVIRONMENT:
            found.append(f"{name} reads the environment; only {', '.join(sorted(READS_ENVIRONMENT))} may")
    return found


READS_ENVIRONMENT = {
    "platform/hyperderm/workflows/handover.py",  # what a detached driver is given of it
    "platform/hyperderm/workflows/workspace.py",
    "platform/hyperderm/cluster/session.py",
    "platform/hyperderm/tracking/requests.py",  # through MLflow, how long a request may take
    "platform/hyperderm/tracking/server.py",
}

if __name__ == "__main__":
    problems = faults(ROOT)
    print("\n".join(problems) or "layout: in order")
    sys.exit(bool(problems))
