"""A reference for the rows that `fakes.rows` makes, as text."""

from __future__ import annotations

import pyarrow as pa

from batchdeploy.core.profiles import Reference, ReferenceColumn, Role
from batchdeploy.documents import to_json
from batchdeploy.kernel.reference_column import column_of_partitions

PARTITIONS = 8


def reference_text(*, count_of_rows: int = 100) -> str:
    """The reference of input ``x`` and output ``y`` over days of 0, 1, 2, ... as `rows` makes them.

    Args:
        count_of_rows: of each day.
    """
    values = [float(i) for i in range(count_of_rows)]
    columns = (_column("x", "feature", values), _column("y", "output", [2 * value for value in values]))
    return to_json(Reference(description="made-up days", columns=columns))


def _column(name: str, role: Role, values: list[float]) -> ReferenceColumn:
    day = pa.array(values, pa.float64())
    return column_of_partitions(name, role, [day] * PARTITIONS)
