"""Reads a pinned partition with pyarrow or Spark, whichever is faster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batchdeploy.core.path_hints import is_remote
from batchdeploy.core.records import DataPin, InputSchema, Plan
from batchdeploy.core.work import Split
from batchdeploy.host.packages import require
from batchdeploy.workflows.toolbox import Toolbox

if TYPE_CHECKING:
    from batchdeploy.adapters.engines.spark import SparkEngine


class LocalReader:
    """A `PartitionReader` on this machine.

    Args:
        tools: the toolbox of the deployment.
        spark: returns the Spark engine, for large partitions.
    """

    # NOTE: so many values are validated as one pandas frame, in a fraction of the time that Spark needs to
    # plan as many jobs; both read null, NaN and type the same. They take some 200 MB; a text counts as ten.
    one_machine_cells = 20_000_000

    def __init__(self, tools: Toolbox, spark: Callable[[], SparkEngine]) -> None:
        self._tools = tools
        self._spark = spark

    def inspect(self, pin: DataPin) -> InputSchema:
        """The columns and row count of a partition, from the footers of its files."""
        require("mlflow", self._tools.deployment)
        from batchdeploy.adapters.parquet_splits import inspect_input

        return inspect_input(pin, self._tools.deployment.limits, engine=self._tools.deployment.engine.kind)

    @contextmanager
    def frame(self, plan: Plan, columns: Collection[str] | None) -> Iterator[Any]:
        """Yields these columns as a pandas frame if that is faster, else the partition as a Spark frame."""
        from batchdeploy.adapters.parquet_splits import LookupJoin, read_frame, watch_pinned_files

        partition = (self._tools.deployment.data.partition.column, plan.partition)
        where, casts = plan.deployment.data.where, plan.deployment.data.casts or {}
        read = [c for c in plan.schema.columns if columns is None or c.name in columns]
        cells = plan.schema.rows * sum(10 if c.type == "string" else 1 for c in read)
        # Spark opens files by name, not in the pinned state; objects are read by pyarrow, however many.
        by_spark = self._tools.deployment.engine.kind == "spark" and not is_remote(plan.data.path)
        if by_spark and cells > self.one_machine_cells:
            nanoseconds = [c.name for c in plan.schema.columns if c.type.startswith("timestamp[ns")]
            with watch_pinned_files(plan.data.files):
                join = LookupJoin(plan.data) if plan.data.lookups else None
                yield self._spark().frame(
                    plan.data, partition, where, nanoseconds=nanoseconds, casts=casts, join=join
                )
        else:
            yield read_frame(plan.data, partition, where, columns, casts)

    def make_splits(self, pin: DataPin) -> tuple[Split, ...]:
        """Divides the partition into splits."""
        from batchdeploy.adapters.parquet_splits import make_splits

        return make_splits(pin)
