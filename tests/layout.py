"""The layout rules of CONTRIBUTING that no linter knows: `python -m tests.layout` prints what breaks them."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
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
        if re.search(r"\benviron\b|getenv", text) and name.startswith("platform/") and name not in READS_ENVIRONMENT:
            found.append(f"{name} reads the environment; only {', '.join(sorted(READS_ENVIRONMENT))} may")
    return found + private_faults(root) + tag_faults(root)


def private_faults(root: Path) -> list[str]:
    """What platform/ calls of other packages that is theirs alone: each is in `PRIVATE`, its package below a bound."""
    trees = {
        path.relative_to(root).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted((root / "platform").rglob("*.py"))
    }
    here = {name: defined(tree) for name, tree in trees.items()}
    ours = set().union(*here.values())
    used = {(name, word) for name, tree in trees.items() for word in foreign(tree, here[name], ours)}
    found = [f"{name} calls {word}, which is private to another package" for name, word in sorted(used - PRIVATE.keys())]
    found += [f"{name} does not call {word} any more: take it off PRIVATE" for name, word in sorted(PRIVATE.keys() - used)]
    needed = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    bound = {re.split(r"[^\w-]", line)[0] for line in needed if "<" in line}
    return found + [f"{one} has no upper bound in pyproject.toml" for one in sorted(set(PRIVATE.values()) - bound)]


def tag_faults(root: Path) -> list[str]:
    """Tags of MLflow that are written out beside `tags.py`; names of modules begin with `hyperderm.` as well."""
    found, paths = list[str](), sorted((root / "platform").rglob("*.py"))
    modules = {
        ".".join(each.relative_to(root / "platform").with_suffix("").parts).removesuffix(".__init__") for each in paths
    }
    for path in (each for each in paths if each != root / "platform/hyperderm/tags.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            text = str(node.value) if isinstance(node, ast.Constant) else ""
            if re.fullmatch(r"hyperderm\.[\w.]*", text) and text not in modules:
                found.append(f"{path.relative_to(root)}:{node.lineno} writes out {text!r}: tags stand in hyperderm/tags.py")
    return found


def foreign(tree: ast.Module, here: set[str], ours: set[str]) -> Iterator[str]:
    """The underscored names that are called, imported or given by keyword, and defined neither here nor by our bases."""
    for node in ast.walk(tree):
        words: list[str] = []
        if isinstance(node, ast.Attribute):
            own = ours if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") else here
            words = [node.attr] * (node.attr not in own)
        elif isinstance(node, ast.keyword):
            words = [node.arg or ""]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [one.name for one in node.names] + [getattr(node, "module", None) or ""]
            words = [word for name in names for word in name.split(".")]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
            words = [str(one.value) for one in node.args[1:2] if isinstance(one, ast.Constant)]
        elif isinstance(node, ast.Constant) and NAMED.fullmatch(str(node.value)):
            words = str(node.value).split(".")
        yield from (word for word in words if re.match("_[a-zA-Z]", word) and word not in DOCUMENTED)


def defined(tree: ast.Module) -> set[str]:
    """The names that a module defines: functions, classes, variables, and fields of its objects."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


NAMED = re.compile(r"[a-z]\w*(\.\w+)+")
"""A string that may name a module, a class or a logger."""

DOCUMENTED = {"_replace", "_exit", "_typeshed"}
"""Public for all their underscore."""

PRIVATE = {
    ("platform/hyperderm/studies/search.py", "_trial_id"): "optuna",
    ("platform/hyperderm/cluster/session.py", "_node_ip_address"): "ray",
    ("platform/hyperderm/trouble.py", "_actor_init_failed"): "ray",
    ("platform/hyperderm/tracking/database.py", "_get_alembic_config"): "mlflow",
    ("platform/hyperderm/tracking/database.py", "_initialize_tables"): "mlflow",
    ("platform/hyperderm/tracking/database.py", "_upgrade_db"): "mlflow",
}
"""Where platform/ calls what a package keeps to itself, and the package: its bound in pyproject.toml says why."""

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
