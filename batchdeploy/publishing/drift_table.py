"""The drift table: one Parquet file per run, one row per column and statistic."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from batchdeploy.core.records import DriftReport, Plan
from batchdeploy.storage.interface import Storage

SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("model_version", pa.int64()),
        ("verdict", pa.string()),
        ("column", pa.string()),
        ("role", pa.string()),
        ("statistic", pa.string()),
        ("value", pa.float64()),
        ("reference", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("p_value", pa.float64()),
        ("q_value", pa.float64()),
        ("alarm", pa.bool_()),
        ("rows", pa.int64()),
        ("detail", pa.string()),
    ]
)


def write_table(storage: Storage, key: str, plan: Plan, report: DriftReport) -> None:
    """Writes a run's rows of the drift table atomically.

    Raises:
        OSError: the disk or the store failed.
    """
    rows = [
        {
            "run_id": report.run_id,
            "model_version": plan.model.version,
            "verdict": report.verdict,
            **{name: getattr(row, name) for name in SCHEMA.names if name in row.__slots__},
        }
        for row in report.statistics
    ]
    with storage.open_output(key) as stream:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), stream)
