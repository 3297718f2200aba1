"""Deployment files as YAML: read within bounds, with_position by line and column, shown without secrets."""

from __future__ import annotations

import copy
import errno
import io
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from batchdeploy.core.secrets import mask_document
from batchdeploy.core.system_errors import reason
from batchdeploy.errors import DeploymentError, Problem
from batchdeploy.redaction import REFERENCE, redact

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12


def _round_trip() -> YAML:
    yaml = YAML(typ="rt")
    yaml.width, yaml.preserve_quotes = MAX_BYTES, True
    return yaml


def read_yaml(file: Path) -> Any:
    """The content of a YAML 1.2 file; its mappings and lists carry line numbers and must not be modified.

    Raises:
        DeploymentError: it is missing, not YAML, too large, nested too deeply, or contains aliases.
    """
    text = _deployment_text(file)
    try:
        return _loaded(text)
    except MarkedYAMLError as error:
        raise DeploymentError(str(file), (_syntax_problem(error),)) from None
    except (YAMLError, ValueError) as error:
        raise DeploymentError(str(file), (Problem("YAML", str(error).splitlines()[0]),)) from None


def redacted_deployment(file: Path) -> str:
    """The text of a deployment file with its comments and without its secrets."""
    text = _deployment_text(file)
    document = copy.deepcopy(read_yaml(file))
    if not mask_document(document):
        return redact(text)
    stream = io.StringIO()
    _round_trip().dump(document, stream)
    return redact(stream.getvalue())


def deployment_references(file: Path) -> dict[tuple[str, ...], tuple[tuple[str, str | None], ...]]:
    """The variables that a deployment file names, with their defaults, by the path of the key."""
    found: dict[tuple[str, ...], tuple[tuple[str, str | None], ...]] = {}
    nodes: list[tuple[tuple[str, ...], Any]] = [((), read_yaml(file))]
    for path, node in nodes:
        if isinstance(node, dict | list):
            inner = node.items() if isinstance(node, dict) else enumerate(node)
            nodes.extend(((*path, str(key)), value) for key, value in inner)
        elif isinstance(node, str) and (matches := tuple(REFERENCE.finditer(node))):
            found[path] = tuple((match[1], match[2]) for match in matches)
    return found


def with_position(problem: Problem, loc: tuple[Any, ...], document: Any) -> Problem:
    """The problem with the line and column of its key, if the file has that key."""
    place, node = None, document
    for part in loc:
        try:
            marks = node.lc
            place = marks.key(part) if isinstance(node, dict) else marks.item(int(part))
            node = node[part] if isinstance(node, dict) else node[int(part)]
        except (KeyError, AttributeError, IndexError, TypeError, ValueError):
            break
    if place is None:
        return problem
    return problem._replace(problem=f"{problem.problem} (line {place[0] + 1}, column {place[1] + 1})")


def read_bounded(file: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most ``max_bytes``.

    Args:
        file: the path.
        max_bytes: the largest size that is accepted.

    Raises:
        OSError: it is not a regular file, is larger, or cannot be read; carries the path.
    """
    # NOTE: without O_NONBLOCK, opening a FIFO blocks until somebody writes to it.
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(file))
        raw = stream.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise OSError(errno.EFBIG, f"is larger than {max_bytes // 1024:,} KiB", str(file))
    return raw


def _found_in(folder: Path) -> str:
    names = sorted(str(file) for file in folder.glob("*.yaml"))[:3]
    return f"name a deployment's file: {', '.join(names)}" if names else "batchdeploy init DIR"


@lru_cache(maxsize=1)
def _loaded(text: str) -> Any:
    """The parsed text; cached, because a DAG file reads the same one twice."""
    return _round_trip().load(text)


def _deployment_text(file: Path) -> str:
    try:
        raw = read_bounded(file, MAX_BYTES)
    except FileNotFoundError:
        what = (
            "no such file" if file.is_absolute() else f"no such file in the working directory, {Path.cwd()}"
        )
        raise DeploymentError(str(file), what, hint="batchdeploy init DIR") from None
    except OSError as error:
        hint = _found_in(file) if isinstance(error, IsADirectoryError) or file.is_dir() else None
        raise DeploymentError(str(file), reason(error), hint=hint) from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DeploymentError(str(file), f"not UTF-8 text (byte {error.start})") from None
    _refuse_bombs(file, text)
    return text


@lru_cache(maxsize=1)
def _refuse_bombs(file: Path, text: str) -> None:
    """Rejects aliases and deep nesting from the parser's events, before any object is built."""
    depth = 0
    try:
        # The safe parser is three times as fast as the round-trip parser, which keeps comments.
        for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
            if isinstance(event, AliasEvent):
                place = f"line {event.start_mark.line + 1}"
                raise DeploymentError(str(file), (Problem(place, "YAML aliases are not supported"),))
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                place = f"line {event.start_mark.line + 1}"
                raise DeploymentError(str(file), (Problem(place, f"nested deeper than {MAX_DEPTH}"),))
    except MarkedYAMLError as error:
        raise DeploymentError(str(file), (_syntax_problem(error),)) from None
    except (YAMLError, AssertionError) as error:
        # NOTE: ruamel.yaml asserts that a %YAML directive names a known version.
        raise DeploymentError(str(file), (Problem("YAML", str(error).splitlines()[0]),)) from None


def _syntax_problem(error: MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "YAML"
    # NOTE: for a duplicate key, ruamel.yaml's message contains both values, which may be secrets.
    return Problem(place, (error.problem or "not YAML").splitlines()[0].partition(" with value ")[0])
