"""Frozen, strict models, overrides by dotted path, and errors that name the field, the value and the remedy."""

import hashlib
import json
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hyperderm.errors import ConfigError, nearest

M = TypeVar("M", bound="Strict")


class Strict(BaseModel):
    """The base of every configuration: immutable, without unknown keys and without silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def override(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with `values` (dotted path to JSON value) set and everything validated again.

        Raises:
            ConfigError: a path is unknown (the nearest ones are named) or a value is refused.
        """
        known = paths(self)
        data = self.model_dump(mode="json")
        for path, value in values.items():
            if path not in known:
                raise _unknown(path, known)
            *parents, leaf = path.split(".")
            node = data
            for name in parents:
                if node[name] is None:
                    node[name] = {}
                node = node[name]
            node[leaf] = value
        return parse(type(self), data)

    def flat(self) -> dict[str, Any]:
        """Return every leaf as dotted path to JSON value."""
        return dict(_leaves("", self.model_dump(mode="json")))

    def changed(self) -> dict[str, Any]:
        """Return the leaves that differ from the defaults of their fields, as dotted path to JSON value.

        Leaves called `kind`, which tell apart the models of a union, are always included. A group that may be None but is
        not is included as its path with the value True. The result therefore identifies a model, and a new field with a
        default does not change the result for models that were made before.
        """
        dumped, found = self.flat(), dict[str, Any]()
        _changed(self, "", dumped, found)
        return found


def fingerprint(data: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the sha256 (hex) of `data` as canonical JSON (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def json_of(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is no JSON, or is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def first_fault(error: ValueError) -> str:
    """Return one line on the first fault of a text that is no JSON, or not that of a model."""
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ")


def version_of(content: bytes, field: str) -> int:
    """Return the whole number that a JSON object holds under `field`.

    Raises:
        ValueError: the text is no JSON object, or names no version.
    """
    data = json_of(content)
    if not isinstance(data, dict) or not isinstance(data.get(field), int):
        raise ValueError(f"it names no {field}")
    return int(data[field])


def parse(model: type[M], data: Any) -> M:  # noqa: ANN401 - any JSON value
    """Validate JSON-like `data` into `model`; turn pydantic's report into one ConfigError."""
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise ConfigError(*explain(error, model)) from None


def explain(error: ValidationError, model: type[Strict]) -> tuple[str, str]:
    """Return (what, remedy) for the first fault in a report of pydantic."""
    faults = error.errors()
    fault = faults[0]
    known = paths(model)
    path, holders, inside = _locate(fault["loc"], model)
    if fault["type"] == "extra_forbidden":
        return f"unknown configuration key {path!r}", nearest(path, known)
    if fault["type"] == "missing":
        return f"{path} is missing", "Give it a value."
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        tag, holders, _ = _locate((*fault["loc"], "", context["discriminator"].replace("'", "")), model)
        known = re.findall(r"'([^']+)'", context["expected_tags"])
        what = f"{tag} = {context['tag']} is refused: it should be one of {', '.join(known)}"
        return what, f"{nearest(context['tag'], known)} {_example(tag, holders)}"
    reason = _reason(fault)
    if fault["type"] == "value_error" and path not in known:  # a rule between fields, which names them itself
        return reason, ""
    others = [f["msg"].removeprefix("Input should be ") for f in faults[1:] if f["loc"][:-1] == fault["loc"][:-1]]
    reason = " or ".join([reason, *others])  # the branches of a union, of which one is enough
    whole = ".".join([path, *inside])
    return f"{whole} = {json.dumps(fault['input'], default=str)} is refused: {reason}", _example(path, holders)


def paths(model: type[BaseModel] | BaseModel, prefix: str = "") -> list[str]:
    """Return the dotted path of every leaf field.

    For an instance, these are the leaves of the models that its unions hold, and a group that is None counts as a leaf
    beside its keys. For a class, these are the leaves of every model that a union may hold.
    """
    found: list[str] = []
    for name, info in (model if isinstance(model, type) else type(model)).model_fields.items():
        value = None if isinstance(model, type) else getattr(model, name)
        if isinstance(value, dict) and all(isinstance(each, BaseModel) for each in value.values()):
            for key, each in value.items():
                found += paths(each, f"{prefix}{name}.{key}.")
        inner = [value] if isinstance(value, BaseModel) else _models_of(info.annotation)
        if not inner or not (isinstance(model, type) or isinstance(value, BaseModel)):
            found.append(f"{prefix}{name}")
        for each in inner:
            found += paths(each, f"{prefix}{name}.")
    return list(dict.fromkeys(found))


def parse_overrides(items: list[str]) -> dict[str, Any]:
    """Turn `["a.b=3", "c=text"]` into {"a.b": 3, "c": "text"}; a value that is valid JSON is read as JSON.

    Raises:
        ConfigError: an item has no "=".
    """
    values: dict[str, Any] = {}
    for item in items:
        path, equals, text = item.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {item!r} is not of the form path=value", "Write --set learner.n_critic=3")
        try:
            values[path] = json_of(text)
        except ValueError:
            values[path] = text
    return values


def is_setting(word: str) -> bool:
    """Return whether a word of a command line reads as `path=value`, such as `learner.lr=3`."""
    return re.match(r"[A-Za-z_][\w.]*=", word) is not None


def given_as_setting(word: str) -> str:
    """Return how a setting is given, for one that stands alone on a command line."""
    by_make = "" if " " in word else f" (make: SET='{word}')"  # make parts its values at spaces
    return f"A setting has its option: --set '{word}'{by_make}."


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return "path: old -> new" for every leaf of two flat configurations that differs."""
    keys = sorted(set(old) | set(new))
    return [f"{k}: {old.get(k, '(absent)')} -> {new.get(k, '(absent)')}" for k in keys if old.get(k) != new.get(k)]


def _unknown(path: str, known: list[str]) -> ConfigError:
    below = [key for key in known if key.startswith(f"{path}.")]
    if below:
        return ConfigError(f"configuration key {path!r} is a group", f"Set one of its keys: {', '.join(below)}.")
    return ConfigError(f"unknown configuration key {path!r}", nearest(path, known))


def _reason(fault: Mapping[str, Any]) -> str:
    """Return why a value is refused, in the words of this project."""
    if fault["type"] == "too_short":
        return f"it should name at least {'one' if fault['ctx']['min_length'] == 1 else fault['ctx']['min_length']}"
    return str(fault["msg"]).removeprefix("Value error, ").replace("Input should", "it should")


def _locate(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[str, list[Any], list[str]]:
    """Return the dotted path of the key with a fault, the models or mappings that hold it, and the keys inside its value.

    The path leaves out the tags that pydantic adds after a union of models to name the chosen model, and everything that
    follows a leaf, such as a branch of a union or an index. Only a leaf that is a mapping has keys inside.
    """
    parts: list[str] = []
    holders: list[Any] = []
    inside: list[Any] = [model]
    tag = False
    for place, part in enumerate(map(str, loc)):
        if tag:
            inside = [each for each in inside if part in [info.default for info in each.model_fields.values()]] or inside
            tag = False
            continue
        parts.append(part)
        holders, inside = inside, [each for owner in inside for each in _below(owner, part)]
        if not inside:
            infos = [each.model_fields.get(part) for each in holders if hasattr(each, "model_fields")]
            mapping = any(info is not None and typing.get_origin(info.annotation) is dict for info in infos)
            return ".".join(parts), holders, [str(key) for key in loc[place + 1 :]] if mapping else []
        tag = len(inside) > 1
    return ".".join(parts), holders, []


def _example(path: str, holders: list[Any]) -> str:
    """Return a remedy that shows the form of a value by the field's own example, or by its default."""
    leaf = path.rpartition(".")[2]
    models = [each for each in holders if isinstance(each, type) and issubclass(each, BaseModel)]
    found = next((each.model_fields[leaf] for each in models if leaf in each.model_fields), None)
    if found is None or (found.is_required() and not found.examples):
        return f"Set it with --set {path}=…"
    value = found.examples[0] if found.examples else found.get_default(call_default_factory=True, validated_data={})
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    item = f"{path}={text}"
    return "For example --set " + (f"'{item}'" if set(item) & set('[]{}" ') else item)


def _models_of(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - a type expression
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [model for each in typing.get_args(annotation) for model in _models_of(each)]
    return []


def _below(owner: Any, name: str) -> list[Any]:  # noqa: ANN401 - a model, or the type of a mapping to models
    """Return the types that `owner` may hold under `name`: models, or a mapping to models; nothing for a leaf."""
    if isinstance(owner, type) and issubclass(owner, BaseModel):
        info = owner.model_fields.get(name)
        annotation = info.annotation if info else None
    else:
        annotation = typing.get_args(owner)[1]
    mapping = typing.get_origin(annotation) is dict and _models_of(typing.get_args(annotation)[1])
    return [annotation] if mapping else _models_of(annotation)


def _changed(model: BaseModel, prefix: str, dumped: Mapping[str, Any], into: dict[str, Any]) -> None:
    for name, info in type(model).model_fields.items():
        value, path = getattr(model, name), f"{prefix}{name}"
        default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        if isinstance(value, BaseModel):
            if not info.is_required() and default is None:
                into[path] = True
            _changed(value, f"{path}.", dumped, into)
        elif info.is_required() or name == "kind" or value != default:
            into |= {leaf: dumped[leaf] for leaf in dumped if leaf == path or leaf.startswith(f"{path}.")}


def unfolded(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested JSON from its leaves in `flat`, given as dotted path to value."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split(".")
        node = nested
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = value
    return nested


def _leaves(prefix: str, node: Any) -> typing.Iterator[tuple[str, Any]]:  # noqa: ANN401 - any JSON value
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else name, value)
    else:
        yield prefix, node


def check_text(what: str, value: str) -> None:
    """Refuse a text that is not UTF-8.

    Args:
        what: the words before the text, as the user wrote them.
        value: the text to check.

    Raises:
        ConfigError: the message names the text and the remedy.
    """
    try:
        (what + value).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{_plain(what + value)}: its name is not UTF-8", "Rename it.") from None


def _plain(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
