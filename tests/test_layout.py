"""What the layout rules see."""

import ast
import textwrap

import pytest

from tests.layout import defined, foreign, private_faults, tag_faults


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("study._storage", ["_storage"]),
        ("from ray._private import worker", ["_private"]),
        ("import mlflow._x.y", ["_x"]),
        ("from optuna.trial import _frozen", ["_frozen"]),
        ("ray.init(_node_ip_address='127.0.0.1')", ["_node_ip_address"]),
        ("getattr(error, '_actor', None)", ["_actor"]),
        ("logging.getLogger('optuna.storages._in_memory')", ["_in_memory"]),
        ("self._base + self._theirs", ["_theirs"]),
        ("import os; os._exit(1); point._replace(x=1); x.__class__; _alone = 1", []),
        ("class A:\n    def f(self, other):\n        self._x = other._x", []),
        ("text = 'never _so'; table = {'_bn0.weight': 1}", []),
    ],
)
def test_what_is_private_to_another_package(code, found):
    tree = ast.parse(textwrap.dedent(code))
    assert list(foreign(tree, defined(tree), {"_base"} | defined(tree))) == found


def test_private_calls_are_listed_and_bounded(tmp_path):
    (tmp_path / "platform").mkdir()
    (tmp_path / "platform/a.py").write_text("study._storage")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["optuna>=5,<6", "mlflow>=3,<4", "ray[tune]>=2"]\n')
    found = private_faults(tmp_path)
    assert found[0] == "platform/a.py calls _storage, which is private to another package"
    assert found[-1] == "ray has no upper bound in pyproject.toml"


def test_tags_stand_in_one_module(tmp_path):
    (tmp_path / "platform/hyperderm/store").mkdir(parents=True)
    (tmp_path / "platform/hyperderm/store/__init__.py").touch()
    (tmp_path / "platform/hyperderm/tags.py").write_text("FOLD_TAG = 'hyperderm.fold'")
    (tmp_path / "platform/hyperderm/a.py").write_text(
        "files('hyperderm.store')\nlogger('hyperderm.a')\ntags = {f'hyperderm.{x}': 1}\nt = 'hyperderm.fold'"
    )
    assert {each.partition(" ")[0][-6:] for each in tag_faults(tmp_path)} == {"a.py:3", "a.py:4"}
