"""Lists the modules and types that a model's files refer to, without loading the model."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from batchdeploy.core.model_safety import unknown_types
from batchdeploy.errors import Problem

MAX_BYTES = 64 << 20
SCHEMA = "schema.json"


def list_modules(folder: Path) -> frozenset[str] | None:
    """Full names of the modules whose objects the files hold, or None if the files do not tell.

    Args:
        folder: a fetched copy of a model.
    """
    from mlflow.models import Model

    flavors = Model.load(str(folder)).flavors
    for name in ("lightgbm", "xgboost"):
        if name in flavors:
            return frozenset({name})
    own = flavors.get("sklearn")
    if not isinstance(own, dict):
        return frozenset(str(flavors.get("python_function", {}).get("loader_module")).split())
    file = folder / str(own.get("pickled_model"))
    try:
        found = _in_skops(file) if file.suffix == ".skops" else _in_pickle(file)
        return frozenset(found)
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, RecursionError):
        return None


def _in_skops(file: Path) -> Iterator[str]:
    with zipfile.ZipFile(file) as packed:
        if packed.getinfo(SCHEMA).file_size > MAX_BYTES:
            raise ValueError(f"{SCHEMA} is too large")
        waiting: list[Any] = [json.loads(packed.read(SCHEMA))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("__module__"), str):
                yield node["__module__"]
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _in_pickle(file: Path) -> Iterator[str]:
    """A pickle holds module names as strings; further strings that look like one do no harm."""
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file.name} is too large")
    with file.open("rb") as stream:
        for code, argument, _ in pickletools.genops(stream):
            if isinstance(argument, str) and "STRING" not in code.name:
                yield argument.split(" ")[0]


def skops_problems(file: Path, trusted: Sequence[str]) -> Iterator[Problem]:
    """Problems for types in a skops file that are not trusted, or for a file that is not a skops file."""
    from skops.io import get_untrusted_types

    try:
        found = get_untrusted_types(file=file)
    # A skops file is a ZIP archive of JSON; skops does not translate the errors of either reader.
    except Exception as error:  # noqa: BLE001
        yield Problem(file.name, "cannot be read as a skops file", f"{type(error).__name__}: {error}")
        return
    yield from unknown_types(found, trusted)
