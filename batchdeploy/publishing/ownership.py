"""The table record, with owner and columns of a table: read, and checked on publishing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.layout import run_key
from batchdeploy.core.records import Manifest, Plan
from batchdeploy.core.tables import TableRecord, check_owner, check_table, table_record
from batchdeploy.documents import from_json, to_json
from batchdeploy.publishing.control_folder import ControlFolder


def read_table(control: ControlFolder, folders: tuple[str, ...], run: str | None) -> TableRecord | None:
    """The record of a table of partition folders; inferred from its files if it has none.

    Args:
        control: the table's control folder.
        folders: the published partitions; a table without any has no owner.
        run: the published run of the last of them, if it is known.
    """
    if not folders:
        return None
    layout = control.layout
    if layout.record.is_file():
        return from_json(TableRecord, layout.record.read_bytes(), where=str(layout.record))
    columns: dict[str, str] = {}
    with suppress(OSError, StopIteration, pa.ArrowException):
        columns = columns_of(pq.read_schema(next(layout.partition_dir(folders[-1]).glob("*.parquet"))))
    text = None if run is None else control.records.find_text(run_key(folders[-1], run), Manifest)
    return infer_record(text, folders[-1], columns)


def infer_record(manifest: str | None, folder: str, columns: Mapping[str, str]) -> TableRecord:
    """Infers the record of a table that has none from the manifest of one of its runs."""
    fields = {}
    with suppress(ValueError):
        fields = json.loads(manifest or "{}")
    partition = folder.partition("=")[0]
    return TableRecord(
        deployment=fields.get("deployment"),
        model=fields.get("model"),
        partition=partition,
        columns=dict(columns),
    )


def claim_table(where: str, table: TableRecord | None, plan: Plan, schema: pa.Schema) -> str | None:
    """Checks that the plan may publish to the table; returns the JSON of its new record, None if unchanged.

    Args:
        where: the table, for messages.
        table: its current record, read under the table's lock.
        plan: the plan to publish.
        schema: the schema of the staged files.

    Raises:
        TableError: the table belongs to another deployment, or has other columns and the plan does not evolve
            it.
    """
    mine = table_record(plan.deployment, columns_of(schema))
    check_owner(where, table, plan.deployment)
    check_table(where, table, mine, evolve=plan.evolve)
    return None if table == mine else to_json(mine)


def columns_of(schema: pa.Schema) -> dict[str, str]:
    """Column name to Arrow type."""
    return {field.name: str(field.type) for field in schema}
