"""The check of staged files before a publish."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.deployment import RESERVED
from batchdeploy.core.locations import is_uri
from batchdeploy.core.records import Plan, ScoredBatch
from batchdeploy.errors import Problem, PublishError
from batchdeploy.storage.failpoints import hit
from batchdeploy.storage.interface import Storage

# Each footer in a store costs two or three round trips, so that many are read at a time.
READERS = 16


class _Footer(NamedTuple):
    """The rows and the columns of a file; otherwise, why it cannot be read."""

    rows: int
    schema: pa.Schema
    error: str | None = None


def verify(storage: Storage, folder: str, plan: Plan, scored: ScoredBatch, *, exact: bool) -> pa.Schema:
    """Checks from listing and footers that the staged files are the scored ones, with their rows and columns.

    Args:
        storage: where the files are.
        folder: the key of their folder.
        plan: the run's plan.
        scored: what was scored.
        exact: whether a further file in the folder is a problem, because it would be published, too.

    Returns:
        The common schema of the files.

    Raises:
        PublishError: the files differ; lists every difference.
        OSError: the storage does not answer.
    """
    ref = plan.deployment.output
    columns = [*plan.deployment.data.keys, *ref.keep, *ref.columns, *RESERVED]
    expected = {file.path: (file.rows, file.size) for file in scored.files}
    sizes = {PurePosixPath(entry.key).name: entry.size for entry in storage.list(folder)}
    names = sorted({*expected, *(sizes if exact else ())})
    problems: list[Problem] = []
    schemas: set[pa.Schema] = set()
    for name, footer in _footers(storage, {name: f"{folder}/{name}" for name in names}).items():
        if footer.error is not None:
            problems.append(Problem(name, "cannot be read", footer.error))
            continue
        schemas.add(footer.schema)
        found = (footer.rows, sizes.get(name))
        if found != expected.get(name):
            problems.append(Problem(name, f"expected (rows, bytes) {expected.get(name)}", str(found)))
        if footer.schema.names != columns:
            shown = str(footer.schema.names)
            problems.append(Problem(name, f"expected the columns {', '.join(columns)}", shown))
    if len(schemas) > 1:
        problems.append(Problem("columns", "are not of the same types in all files"))
    if problems:
        raise PublishError("the staged files", tuple(problems), hint="nothing was published")
    hit("files verified")
    return schemas.pop() if schemas else pa.schema([])


def _footers(storage: Storage, keys: Mapping[str, str]) -> dict[str, _Footer]:
    """The footer of each file, by name."""

    def read(key: str) -> _Footer:
        try:
            with storage.open_input(key) as stream, pq.ParquetFile(stream) as file:
                return _Footer(file.metadata.num_rows, file.schema_arrow.remove_metadata())
        except (pa.ArrowException, FileNotFoundError) as error:
            return _Footer(0, pa.schema([]), str(error))

    if not is_uri(storage.target):
        return {name: read(key) for name, key in keys.items()}
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(keys, pool.map(read, keys.values()), strict=True))
