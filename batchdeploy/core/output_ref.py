"""Where a deployment writes scores and records, and the columns that it declares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.locations import is_uri
from batchdeploy.errors import Problem
from batchdeploy.redaction import REFERENCE, secrets_in

OutputType = Literal["double", "float", "long", "integer", "boolean", "string"]
# The end of a control folder's name.
CONTROL = ".batchdeploy"
STORES = frozenset({"s3", "gs", "az", "abfs", "abfss"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputColumn:
    """One declared output.

    Attributes:
        type: the type that is written; a row whose value does not fit it is quarantined.
        select: which column of the model's output, by position (an array) or name (a frame);
            null takes the columns in the declared order.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    type: OutputType
    select: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRef:
    """Where scores and records are written, and the columns of the scores besides the keys.

    Attributes:
        path: the table: a folder, or with ``publish: {mode: pointer}`` a URI: ``s3://``, ``gs://``, ``az://``,
            ``abfss://``.
        control: the control folder, with records, quarantined rows, drift tables and claims; a folder or a
            URI whose name ends with ``.batchdeploy``. null: beside the table, at ``path`` with
            ``.batchdeploy`` added. Give another one with ``publish: {mode: pointer}`` only, and a folder if
            the table is in a folder.
        columns: the outputs of the model.
        keep: columns of the input that are copied.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    control: str | None = None
    columns: dict[str, OutputType | OutputColumn]
    keep: tuple[str, ...] = ()


def control_problems(output: OutputRef, *, data: str, mode: str) -> Iterator[Problem]:
    """The problems of ``output.control``.

    Args:
        output: the output.
        data: ``data.path``.
        mode: ``publish.mode``.
    """
    control = output.control
    if control is None:
        return
    place = PurePosixPath(control)
    if not control.strip() or "\0" in control:
        yield Problem("output.control", "must be a path or a URI", repr(control))
    elif is_uri(control) and control.partition("://")[0] not in STORES:
        yield Problem("output.control", f"is in no store that is known: {', '.join(sorted(STORES))}", control)
    elif any(secrets_in(control)) and is_uri(control):
        yield Problem("output.control", "holds credentials; they belong in the environment")
    elif mode != "pointer":
        what = "publish.mode swap needs the control folder beside the table; leave it out, or set "
        yield Problem("output.control", f"{what}publish: {{mode: pointer}}", control)
    elif not place.name.endswith(CONTROL) or place.name == CONTROL:
        yield Problem("output.control", f"the name of a control folder ends with {CONTROL}", control)
    # NOTE: a folder compares and swaps under a lock, which is in the control folder; a store has none. A path
    # whose variables are not set yet may turn out to be a URI.
    elif is_uri(control) and not is_uri(output.path) and not REFERENCE.search(output.path):
        what = "is in a store, and the lock of a table in a folder must be in a folder, too; name one"
        yield Problem("output.control", what, control)
    elif {PurePosixPath(data), PurePosixPath(output.path)} & {*place.parents}:
        yield Problem("output.control", "must be outside data.path and output.path", control)
