"""Nothing outside a learner's folder knows it: no import, no name of its configuration, no comparison with its kind."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hyperderm
from hyperderm.learners import LEARNERS

PACKAGE = Path(hyperderm.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if PACKAGE / "learners" not in path.parents)
FOLDERS = {each.__module__.rpartition(".config")[0] for each in LEARNERS}
CLASSES = {each.__name__ for each in LEARNERS}
KINDS = {each.model_fields["kind"].default for each in LEARNERS}


def faults(tree: ast.AST) -> Iterator[str]:
    """Yield what in a module's tree knows a learner."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            if isinstance(node, ast.ImportFrom):
                named += [f"{node.module}.{each.name}" for each in node.names]
            yield from (f"line {node.lineno} imports {name}" for name in named if _in_a_folder(name))
        if isinstance(node, ast.Name | ast.Attribute | ast.alias):
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else node.name
            if name in CLASSES:
                yield f"line {node.lineno} names {name}"
        if isinstance(node, ast.Compare | ast.Match):
            yield from (f"line {node.lineno} compares a kind with {text!r}" for text in _kinds_told_apart(node))


def _in_a_folder(name: str) -> bool:
    return any(name == folder or name.startswith(f"{folder}.") for folder in FOLDERS)


def _kinds_told_apart(node: ast.Compare | ast.Match) -> set[str]:
    """The kinds of learners that a comparison or a match tests something called `kind` for."""
    subject = node.subject if isinstance(node, ast.Match) else node
    asked = any(isinstance(each, ast.Attribute) and each.attr == "kind" and _of_learner(each) for each in ast.walk(subject))
    asked |= any(isinstance(each, ast.Name) and each.id == "learner" for each in ast.walk(subject))
    texts = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    return texts & KINDS if asked else set()


def _of_learner(node: ast.Attribute) -> bool:
    inner = node.value
    return (isinstance(inner, ast.Attribute) and inner.attr in ("learner", "config")) or (
        isinstance(inner, ast.Name) and inner.id in ("learner", "config", "model")
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_knows_a_learner(path):
    assert list(faults(ast.parse(path.read_text("utf-8")))) == []


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
    ],
)
def test_the_walk_sees_what_it_must(text):
    assert list(faults(ast.parse(text)))
