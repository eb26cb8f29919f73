"""Nothing outside a learner's folder knows it: no import, no name of its configuration, no comparison with its kind."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import hyperderm
from hyperderm.learners import LEARNERS
from hyperderm.learners.spec import Role

PACKAGE = Path(hyperderm.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if PACKAGE / "learners" not in path.parents)
FOLDERS = {each.__module__.rpartition(".config")[0] for each in LEARNERS}
CLASSES = {each.__name__ for each in LEARNERS}
KINDS = {each.model_fields["kind"].default for each in LEARNERS}
ROLES = set(get_args(Role))
WORDS = ROLES | {"spectral"}
"""Kinds that are words of the house too: a role, a kind of store."""
BELOW = {"cubes", "phantom", "store", "ingest"}
"""Rooms that cannot know of learners, whose stores have kinds of their own."""


def faults(tree: ast.AST, rooms: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield what in a module's tree knows a learner; `rooms` are the folders that the module lies in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            yield from (f"line {node.lineno} imports {name}" for name in _imported(node) if _in_a_folder(name))
        if isinstance(node, ast.Name | ast.Attribute | ast.alias):
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else node.name
            if name in CLASSES:
                yield f"line {node.lineno} names {name}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_a_learner(node.value):
            yield f"line {node.lineno} says {node.value!r}"
        if isinstance(node, ast.Compare | ast.Match | ast.Subscript | ast.Call) and not set(rooms) & BELOW:
            yield from (f"line {node.lineno} tells a kind by {text!r}" for text in _kinds_told_apart(node))


def _is_a_learner(text: str) -> bool:
    return text in CLASSES | (KINDS - WORDS) or _in_a_folder(text)


def _imported(node: ast.ImportFrom | ast.Import) -> list[str]:
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    module = f"hyperderm.{node.module or ''}".rstrip(".") if node.level else node.module or ""
    return [module, *(f"{module}.{each.name}" for each in node.names)]


def _in_a_folder(name: str) -> bool:
    return any(name == folder or name.startswith(f"{folder}.") for folder in FOLDERS)


def _kinds_told_apart(node: ast.Compare | ast.Match | ast.Subscript | ast.Call) -> set[str]:
    """The kinds of learners that an expression tests something for that is a learner, or called a kind."""
    if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Attribute) and node.func.attr in ("startswith", "get")):
        return set()
    texts = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    inner = list(ast.walk(node))
    asked = any(isinstance(each, ast.Attribute) and each.attr in ("kind", "generator") for each in inner)
    asked |= any(isinstance(each, ast.Name) and each.id in ("kind", "learner") for each in inner)
    asked |= bool(texts & {"kind", "learner.kind"})
    roles = any(isinstance(each, ast.Attribute) and each.attr == "role" for each in inner)
    roles |= any(isinstance(each, ast.Name) and each.id in ("role", "role_of") for each in inner)
    return texts & (KINDS - ROLES if roles else KINDS) if asked else set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_knows_a_learner(path):
    assert list(faults(ast.parse(path.read_text("utf-8")), path.relative_to(PACKAGE).parts)) == []


@pytest.mark.parametrize(
    "text",
    [
        "from hyperderm.learners.shsgan import ShsGanConfig",
        "from hyperderm.learners import shsgan",
        "import hyperderm.learners.classifier.networks",
        "def f(x): return isinstance(x, learners.SpectralConfig)",
        "def f(experiment): return experiment.learner.kind == 'spectral'",
        "def f(learner): return learner.kind in ('classifier', 'spectral')",
        "match experiment.learner.kind:\n    case 'shsgan': pass",
        "kind = experiment.learner.kind\nif kind == 'spectral': pass",
        "def f(kind):\n    match kind:\n        case 'spectral': pass",
        "s = experiment.learner\ns.kind == 'classifier'",
        "saved['kind'] == 'classifier'",
        "facts.get('learner.kind') == 'spectral'",
        "{'shsgan': 1}[experiment.learner.kind]",
        "experiment.learner.kind.startswith('spectral')",
        "NAMES = ('dcgan',)",
        "def f(x: 'ShsGanConfig'): pass",
        "from ..learners import shsgan",
        "importlib.import_module('hyperderm.learners.shsgan')",
    ],
)
def test_the_walk_sees_what_it_must(text):
    assert list(faults(ast.parse(text)))
