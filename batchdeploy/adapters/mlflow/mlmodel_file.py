"""Reads a model's ``MLmodel`` file within limits, before MLflow parses it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from batchdeploy.errors import Problem, RequestError

MEBIBYTE = 1 << 20
MAX_BYTES = 2 * MEBIBYTE
MAX_NODES = 20_000
MAX_LEVELS = 32
MAX_DIGITS = 200
# skops does not compress by default; numbers that are not noise compress to a hundredth at best.
MAX_SCHEMA_BYTES = 64 * MEBIBYTE
MIN_UNPACKED_BYTES = 1 << 30
MAX_RATIO = 200
SMALL_FILES = ("requirements.txt",)


def read_mlmodel(file: Path, where: str) -> Any:
    """MLflow's `Model` from a file ``MLmodel``. Loads nothing of the model itself.

    Args:
        file: a local ``MLmodel`` file.
        where: the model, for messages.

    Raises:
        RequestError: the file is too large, too deeply nested, expands by its aliases, or is no ``MLmodel``.
    """
    size = file.stat().st_size
    if size > MAX_BYTES:
        got = f"{size / MEBIBYTE:.1f} MiB"
        raise RequestError(where, (Problem("MLmodel", f"is larger than {MAX_BYTES // MEBIBYTE} MiB", got),))
    try:
        found, problem = _parse(file)
    # YAML, JSON and MLflow's classes raise many kinds of errors on a foreign document.
    except Exception as error:  # noqa: BLE001
        found, problem = None, f"is no description of a model: {type(error).__name__}: {error}"
    if problem is not None:
        raise RequestError(where, (Problem("MLmodel", problem),))
    return found


def _parse(file: Path) -> tuple[Any, str | None]:
    from mlflow.models import Model

    if (problem := _expansion_problem(file.read_text(encoding="utf-8"))) is not None:
        return None, problem
    found = Model.load(str(file))
    if not isinstance(found.flavors, dict):
        return None, "names no flavors"
    return found, _input_example_problem(found)


def check_small_files(folder: Path, where: str) -> None:
    """Checks the size of the other files that are read into memory as a whole.

    Raises:
        RequestError: a file is too large, or unpacks to far more than its size.
    """
    for name in SMALL_FILES:
        file = folder / name
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise RequestError(where, (Problem(name, f"is larger than {MAX_BYTES // MEBIBYTE} MiB"),))
    for file in folder.glob("*.skops"):
        if (problem := _archive_problem(file)) is not None:
            raise RequestError(where, (Problem(file.name, problem),))


def _archive_problem(file: Path) -> str | None:
    """The problem of an archive that unpacks to too much; `skops_problems` reports other files."""
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if sizes.get("schema.json", 0) > MAX_SCHEMA_BYTES:
        return f"has a schema.json larger than {MAX_SCHEMA_BYTES // MEBIBYTE} MiB"
    if sum(sizes.values()) > max(MIN_UNPACKED_BYTES, MAX_RATIO * file.stat().st_size):
        return f"unpacks to {sum(sizes.values()) >> 20} MiB, more than {MAX_RATIO} times its size"
    return None


def _expansion_problem(text: str) -> str | None:
    """The problem of a YAML text that would take too much time or memory to parse."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # An anchor's node counts at each alias; a node with an alias to itself never ends.
    sizes: dict[str, int | None] = {}
    open_: list[list[Any]] = [[None, 0]]
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor)
            if size is None:
                return "has an alias that leads to itself, or nowhere"
            open_[-1][1] += size
        elif isinstance(event, yaml.NodeEvent):
            if (problem := _scalar_problem(event)) is not None:
                return problem
            if isinstance(event, yaml.CollectionStartEvent):
                open_.append([event.anchor, 1])
                sizes |= {} if event.anchor is None else {event.anchor: None}
            else:
                open_[-1][1] += 1
                sizes |= {} if event.anchor is None else {event.anchor: 1}
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
            open_[-1][1] += size
            sizes |= {} if anchor is None else {anchor: size}
        if len(open_) > MAX_LEVELS:
            return f"is deeper than {MAX_LEVELS} levels"
        if sum(size for _, size in open_) > MAX_NODES:
            return f"has more than {MAX_NODES} values, aliases counted out"
    return None


def _scalar_problem(event: Any) -> str | None:
    """The problem of a tag that builds other objects, or of a number that is slow to parse."""
    if event.tag is not None and event.tag != "!":
        return f"has a tag, {event.tag}"
    if not getattr(event, "style", "'") and getattr(event, "value", "")[:1] in tuple("+-.0123456789"):
        return f"has a number of {len(event.value)} digits" if len(event.value) > MAX_DIGITS else None
    return None


def _input_example_problem(description: Any) -> str | None:
    """The problem of an input example outside the model's folder, which MLflow would read on loading."""
    example = description.saved_input_example_info
    path = example.get("artifact_path") if isinstance(example, dict) else None
    if path is not None and (not isinstance(path, str) or "/" in path or "\\" in path or path == ".."):
        return f"has an input example that is not beside it: {path}"
    return None
