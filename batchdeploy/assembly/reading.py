"""Reads a pinned partition with pyarrow or Spark: what is faster, and where the rows are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchdeploy.assembly.lookups import send_lookups
from batchdeploy.core.lookup_places import LookupPlaces
from batchdeploy.core.path_hints import is_remote, opens_by_name
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
        """The columns and row count of a partition, from the footers of its files or the pin of a table."""
        require("mlflow", self._tools.deployment)
        from batchdeploy.adapters.parquet_splits import add_lookup_columns, inspect_input

        limits, engine = self._tools.deployment.limits, self._tools.deployment.engine
        if pin.tracked == "catalog":
            return add_lookup_columns(self._spark().catalog.inspect(pin, limits), pin, limits)
        return inspect_input(pin, limits, engine=engine.kind, read=engine.read)

    @contextmanager
    def frame(self, plan: Plan, columns: Collection[str] | None) -> Iterator[Any]:
        """Yields these columns as a pandas frame if that is faster, else the partition as a Spark frame.

        Spark's workers always read objects themselves, so that no rows pass through this process, and files
        that Spark does not open by their names.
        """
        from batchdeploy.adapters.parquet_splits import LookupJoin, read_frame, split_rows, watch_pinned_files

        partition = (self._tools.deployment.data.partition.column, plan.partition)
        where, casts = plan.deployment.data.where, plan.deployment.data.casts or {}
        read = [c for c in plan.schema.columns if columns is None or c.name in columns]
        cells = plan.schema.rows * sum(10 if c.type == "string" else 1 for c in read)
        by_spark = self._tools.deployment.engine.kind == "spark"
        if plan.data.tracked == "catalog":
            join = LookupJoin(plan.data, self._places(plan.data)) if plan.data.lookups else None
            yield self._spark().frame(plan.data, partition, where, casts=casts, join=join)
        elif by_spark and any(
            is_remote(file.location) or (cells > self.one_machine_cells and not opens_by_name(file.location))
            for file in plan.data.files
        ):
            splits = self.make_splits(plan.data)
            reader = split_rows(plan.data, splits[0], columns, where, casts)
            reader = replace(reader, places=self._places(plan.data))
            with self._spark().split_frame(splits, reader, partition, where) as frame:
                yield frame
        elif by_spark and cells > self.one_machine_cells:
            nanoseconds = [c.name for c in plan.schema.columns if c.type.startswith("timestamp[ns")]
            with watch_pinned_files(plan.data.files):
                join = LookupJoin(plan.data, self._places(plan.data)) if plan.data.lookups else None
                yield self._spark().frame(
                    plan.data, partition, where, nanoseconds=nanoseconds, casts=casts, join=join
                )
        else:
            yield read_frame(plan.data, partition, where, columns, casts)

    def _places(self, pin: DataPin) -> LookupPlaces:
        most = self._tools.deployment.limits.lookup_mib
        return send_lookups(pin.lookups, self._spark(), most_mib=most)

    def make_splits(self, pin: DataPin) -> tuple[Split, ...]:
        """Divides the partition into splits; of a table that Spark reads, the files are not opened."""
        from batchdeploy.adapters.parquet_splits import make_splits, whole_files

        return whole_files(pin) if pin.tracked == "catalog" else make_splits(pin)
