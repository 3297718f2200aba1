"""A model's description, read within bounds before MLflow parses it."""

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
# NOTE: skops does not compress unless it is told to; numbers that are no noise take a hundredth at best.
MAX_SCHEMA_BYTES = 64 * MEBIBYTE
MIN_UNPACKED_BYTES = 1 << 30
MAX_RATIO = 200
SMALL_FILES = ("requirements.txt",)


def read_mlmodel(file: Path, where: str) -> Any:
    """MLflow's record of a file ``MLmodel``; nothing of the model is loaded for it.

    Args:
        file: the description, on this machine.
        where: the model, for messages.

    Raises:
        RequestError: it is too large, too deep, grows by its aliases, or is no description.
    """
    size = file.stat().st_size
    if size > MAX_BYTES:
        got = f"{size / MEBIBYTE:.1f} MiB"
        raise RequestError(where, (Problem("MLmodel", f"is larger than {MAX_BYTES // MEBIBYTE} MiB", got),))
    try:
        found, problem = _parse(file)
    # NOTE: what YAML, JSON and MLflow's own classes raise at a document that is none of theirs.
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
    """Looks at what MLflow, skops and we read as a whole beside the description.

    Raises:
        RequestError: one is larger than a description may be, or holds much more than its size says.
    """
    for name in SMALL_FILES:
        file = folder / name
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise RequestError(where, (Problem(name, f"is larger than {MAX_BYTES // MEBIBYTE} MiB"),))
    for file in folder.glob("*.skops"):
        if (problem := _archive_problem(file)) is not None:
            raise RequestError(where, (Problem(file.name, problem),))


def _archive_problem(file: Path) -> str | None:
    """What in an archive would take far more room than its size says. What is none is named elsewhere."""
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
    """What in a YAML text would take more time or room than its length says."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # NOTE: an anchor's node counts again at each alias; a node with an alias to itself has no end.
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
    """Tags that build other things than texts and numbers, and numbers that take long to read."""
    if event.tag is not None and event.tag != "!":
        return f"has a tag, {event.tag}"
    if not getattr(event, "style", "'") and getattr(event, "value", "")[:1] in tuple("+-.0123456789"):
        return f"has a number of {len(event.value)} digits" if len(event.value) > MAX_DIGITS else None
    return None


def _input_example_problem(description: Any) -> str | None:
    """MLflow reads an example of the input while it loads a model, from wherever the description says."""
    example = description.saved_input_example_info
    path = example.get("artifact_path") if isinstance(example, dict) else None
    if path is not None and (not isinstance(path, str) or "/" in path or "\\" in path or path == ".."):
        return f"has an input example that is not beside it: {path}"
    return None
