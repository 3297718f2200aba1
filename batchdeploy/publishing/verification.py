"""The check of staged files before a publish."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.deployment import RESERVED
from batchdeploy.core.records import Plan, ScoredBatch
from batchdeploy.errors import Problem, PublishError
from batchdeploy.storage.failpoints import hit


def verify(staged: Path, plan: Plan, scored: ScoredBatch) -> pa.Schema:
    """Checks from listing and footers that the staged files are the scored ones, with their rows and columns.

    Returns:
        The common schema of the files.

    Raises:
        PublishError: the files differ; lists every difference.
    """
    ref = plan.deployment.output
    columns = [*plan.deployment.data.keys, *ref.keep, *ref.columns, *RESERVED]
    expected = {file.path: (file.rows, file.size) for file in scored.files}
    problems: list[Problem] = []
    schemas: set[pa.Schema] = set()
    for name in sorted({*os.listdir(staged), *expected}):
        try:
            with pq.ParquetFile(staged / name) as opened:
                found = (opened.metadata.num_rows, (staged / name).stat().st_size)
                schema = opened.schema_arrow.remove_metadata()
        except (pa.ArrowException, FileNotFoundError) as error:
            problems.append(Problem(name, "cannot be read", str(error)))
            continue
        schemas.add(schema)
        if found != expected.get(name):
            problems.append(Problem(name, f"expected (rows, bytes) {expected.get(name)}", str(found)))
        if schema.names != columns:
            problems.append(Problem(name, f"expected the columns {', '.join(columns)}", str(schema.names)))
    if len(schemas) > 1:
        problems.append(Problem("columns", "are not of the same types in all files"))
    if problems:
        raise PublishError("the staged files", tuple(problems), hint="nothing was published")
    hit("files verified")
    return schemas.pop() if schemas else pa.schema([])
