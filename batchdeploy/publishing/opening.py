"""The publishing side of one table, in the mode that ``publish.mode`` names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchdeploy.core.deployment import OutputRef, PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.errors import Problem, RequestError
from batchdeploy.ports import Claims, Evidence, Maintenance, PublishedTable, Publisher, Staging


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAccess:
    """All that a run does with one published table and the control folder beside it."""

    staging: Staging
    table: PublishedTable
    publisher: Publisher
    claims: Claims
    maintenance: Maintenance
    evidence: Evidence


def open_table(layout: Layout, output: OutputRef, spec: PublishSpec) -> TableAccess:
    """Access to a deployment's table.

    Args:
        layout: the table's folders.
        output: where the table is.
        spec: how to publish.

    Raises:
        RequestError: the table was published in the other mode.
        PublishError: the object store cannot be opened.
    """
    if spec.mode == "pointer":
        from batchdeploy.publishing.pointer import PointerSink

        remote = "://" in output.path
        if not remote and any(layout.table.glob("*=*/*.parquet")):
            raise _other_mode(layout, "swap", spec)
        target = output.path.rstrip("/") if remote else str(layout.table)
        return _access(PointerSink(layout, target, spec))
    from batchdeploy.publishing.swap import ParquetSink

    if (layout.table / "current.json").is_file():
        raise _other_mode(layout, "pointer", spec)
    return _access(ParquetSink(layout, spec))


def _access(sink: Any) -> TableAccess:
    return TableAccess(staging=sink, table=sink, publisher=sink, claims=sink, maintenance=sink, evidence=sink)


def _other_mode(layout: Layout, mode: str, spec: PublishSpec) -> RequestError:
    """One table has one mode: readers of the one would miss, or double, what the other did."""
    problem = Problem("publish.mode", f"this table was published by {mode}", spec.mode)
    hint = "give the new mode an output.path of its own, and fill it by a backfill"
    return RequestError(str(layout.table), (problem,), hint=hint)
