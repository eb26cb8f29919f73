"""Checkpoints as a user names them: a file, an object on S3, or the run that wrote the checkpoint.

This module does not use Ray.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperderm.errors import StoreError, StudyError
from hyperderm.identity import FIRST, SCHEMA
from hyperderm.store.location import locate
from hyperderm.store.manifest import FOLD_FREE
from hyperderm.store.reader import Store
from hyperderm.store.run_location import RunLocation, content_of
from hyperderm.store.s3 import prepare
from hyperderm.tags import FOLD_TAG, MANIFEST_TAG

REMEDY = "Give a best.pt or latest.pt that hyperderm wrote, or a run by --run."


def read_checkpoint(path: Path | str) -> tuple[Mapping[str, Any], str]:
    """Return the content of a checkpoint, on the CPU, and the sha256 (hex) of the file.

    Args:
        path: the path of a file, or an `s3://` address.

    Raises:
        StudyError: the file does not exist, cannot be read, was not written by hyperderm, or was written by a later version,
            whose settings may mean something else. StoreError: the S3 server
            refuses, or does not answer.
    """
    import torch

    from hyperderm.training.checkpoint import check_whole

    try:
        held = content_of(*opened(path))
    except IsADirectoryError as error:
        raise StudyError(f"checkpoint {path} is a folder", REMEDY) from error
    if held is None:
        raise StudyError(f"checkpoint {path} does not exist", REMEDY)
    try:
        check_whole(held)
        state = torch.load(io.BytesIO(held), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file can raise any error
        reason = (str(error).splitlines() or [""])[0][:200].rstrip(". ")
        raise StudyError(f"checkpoint {path} cannot be read ({type(error).__name__}: {reason})", REMEDY) from error
    kinds = {"learner": dict, "experiment": str, "provenance": dict}
    if not isinstance(state, dict) or not all(isinstance(state.get(name), kind) for name, kind in kinds.items()):
        raise StudyError(f"{path} is no checkpoint of hyperderm", REMEDY)
    schema = state.get("schema", FIRST)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise StudyError(
            f"checkpoint {path} is of schema {schema}, this hyperderm reads up to {SCHEMA}",
            "Use the version of hyperderm that wrote it, or train anew.",
        )
    return state, hashlib.sha256(held).hexdigest()


def opened(path: Path | str) -> tuple[RunLocation, str]:
    """Return the folder of a checkpoint and its name there; on S3, prove that the folder is readable."""
    if not str(path).startswith("s3://"):
        return Path(path).parent, Path(path).name
    parent, _, name = str(path).rpartition("/")
    return prepare(locate(parent, "--checkpoint"), write=False), name


def fold_of(checkpoint: Mapping[str, Any], store: Store) -> int:
    """Return the fold of a checkpoint's training, after proving that the checkpoint was trained on `store`.

    Raises:
        StudyError: the checkpoint names no store or no fold, or is fold-free; StoreError: it names another store.
    """
    origin = checkpoint["provenance"]
    manifest, fold = origin.get(MANIFEST_TAG), origin.get(FOLD_TAG)
    if manifest is None or fold is None:
        raise StudyError("the checkpoint does not say which store and fold it was trained on", REMEDY)
    if fold == FOLD_FREE:
        raise StudyError(
            "the checkpoint is fold-free: it has seen pixels of every lesion of its store, also those a fold holds back",
            "Train one on a store with folds.",
        )
    mine = store.manifest.fingerprint
    if manifest != mine:
        raise StoreError(
            f"the checkpoint was trained on store {manifest[:12]}, {store.location.uri} is {mine[:12]}",
            "Give the store it was trained on: --source-store URI.",
        )
    return int(fold)
