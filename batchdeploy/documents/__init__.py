"""Converts text to records and back: reads deployment files, reads and writes JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from batchdeploy.core.deployment import Deployment
from batchdeploy.core.deployment_checks import deployment_problems
from batchdeploy.core.secrets import fill_document, literal_secrets
from batchdeploy.documents.yaml_files import read_yaml, with_position
from batchdeploy.errors import DataError, DeploymentError, Problem, shorten
from batchdeploy.redaction import names_secret, remember

T = TypeVar("T")

LARGEST = 2**63 - 1


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_deployment(file: Path, environment: Mapping[str, str] | None = None) -> Deployment:
    """The deployment in a YAML 1.2 file, with environment variables filled in; secrets stay references.

    Args:
        file: the path.
        environment: the variables; None takes those of this process.

    Raises:
        DeploymentError: all problems found; those of a key carry its line and column.
    """
    document = read_yaml(file)
    if not isinstance(document, dict):
        raise DeploymentError(str(file), "must hold a mapping of keys", hint="batchdeploy init DIR")
    found: list[tuple[Problem, tuple[Any, ...]]] = []
    try:
        # NOTE: pydantic's strict mode accepts lists for tuples only from JSON; default=str, because YAML's
        # dates are values of the partition column here.
        plain = json.loads(json.dumps(_writable(document, (), found), default=str))
        remember(literal_secrets(plain))
        plain, unfilled = fill_document(plain, os.environ if environment is None else environment)
        found += [(problem, tuple(problem.path.split("."))) for problem in unfilled]
        remember(literal_secrets(plain))
        deployment: Deployment = _adapter(Deployment).validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        found += _merge_unions(error.errors(include_url=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise DeploymentError(
            str(file), (Problem("YAML", "holds values that JSON cannot", str(error)),)
        ) from None
    if found:
        raise DeploymentError(str(file), tuple(with_position(p, loc, document) for p, loc in found))
    if unsound := deployment_problems(deployment):
        raise DeploymentError(
            str(file), tuple(with_position(p, tuple(p.path.split(".")), document) for p in unsound)
        )
    return deployment


def deployment_schema() -> dict[str, Any]:
    """The JSON Schema of a deployment file, for completion and checks in editors."""
    return _adapter(Deployment).json_schema()


def to_json(record: object) -> str:
    """The record as indented JSON, keys in the order of its fields, with a final newline."""
    kind: Any = type(record)
    dumped = _adapter(kind).dump_python(record, mode="json")
    return json.dumps(dumped, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_plain(record: object) -> Any:
    """The record as dicts, lists and plain values."""
    kind: Any = type(record)
    return _adapter(kind).dump_python(record, mode="json")


def from_json(kind: type[T], text: str | bytes, *, where: str) -> T:
    """The record in a JSON text.

    Raises:
        DataError: the text is not JSON, or not a record of this kind.
    """
    # Imported here to keep the parsing of DAG files fast, which reads no records.
    from batchdeploy.core.reference_checks import record_problems

    try:
        record: T = _adapter(cast(Any, kind)).validate_json(text, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems = tuple(Problem(".".join(map(str, e["loc"])) or "JSON", e["msg"]) for e in found)
        raise DataError(where, problems) from None
    if wrong := (*record_problems(record),):
        raise DataError(where, wrong)
    return record


def parse_json(text: str | bytes, *, where: str) -> Any:
    """The value of a JSON text; rejects NaN, infinities (such as 1e999) and lone surrogates.

    Raises:
        DataError: the text is not JSON, or holds such a value.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(where, (Problem("JSON", _json_problem(error)),)) from None
    return value


def canonical(value: object) -> bytes:
    """Canonical JSON bytes, equal for equal values: sorted keys, no spaces. Pins are hashed over them."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is beyond what a number can be")
    return value


def _json_problem(error: ValueError | RecursionError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"holds {error.object[error.start]!r}, half of a character"
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text (byte {error.start})"
    return "is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _writable(node: Any, loc: tuple[Any, ...], found: list[tuple[Problem, tuple[Any, ...]]]) -> Any:
    """The document with values that JSON or 64 bits cannot hold reported in ``found`` and replaced."""
    if isinstance(node, dict):
        return {key: _writable(value, (*loc, key), found) for key, value in node.items()}
    if isinstance(node, list):
        return [_writable(value, (*loc, place), found) for place, value in enumerate(node)]
    problem: str | None = None
    instead: object = None
    if isinstance(node, float) and not math.isfinite(node):
        problem, instead = "must be a finite number", 1
    elif isinstance(node, int) and abs(node) > LARGEST:
        problem, instead = "does not fit 64 bits", 1
    elif isinstance(node, str) and any("\ud800" <= c <= "\udfff" for c in node):
        problem, instead = "holds half of a character", "x"
    if problem is None:
        return node
    got = shorten(node) if isinstance(node, float) else None
    found.append((Problem(".".join(map(str, loc)), problem, got), loc))
    return instead


def _merge_unions(errors: Iterable[Any]) -> list[tuple[Problem, tuple[Any, ...]]]:
    """Pydantic's errors as problems; errors of a union's branches are merged into one."""
    merged: dict[tuple[Any, ...], Problem] = {}
    for error in errors:
        loc = tuple(part for part in error["loc"] if not _is_branch(part))
        loc = loc[:2] if loc[:2] == ("backfill", "model") else loc
        got = None if error["type"] in ("missing", "unexpected_keyword_argument") else repr(error["input"])
        path = ".".join(map(str, loc)) or "deployment"
        text = {
            "missing": "is required",
            "missing_keyword_only_argument": "is required",
            "unexpected_keyword_argument": "unknown key",
        }.get(error["type"], error["msg"])
        if "required" in text or any(isinstance(part, str) and names_secret(part) for part in loc):
            got = None
        merged.setdefault(loc, Problem(path, text, got))
    # A mapping that is not an OutputColumn is not an output type either; only the deeper problem helps.
    inner = {loc[:-1] for loc in merged}
    return [
        (problem, loc)
        for loc, problem in merged.items()
        if loc not in inner or loc[:2] != ("output", "columns")
    ]


def _is_branch(part: Any) -> bool:
    return isinstance(part, str) and (part.startswith("literal[") or part == "OutputColumn")
