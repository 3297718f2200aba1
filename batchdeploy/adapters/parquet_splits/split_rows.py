"""Reads splits in the workers for a validator, which sees what `read_frame` gives."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from batchdeploy.adapters.parquet_splits.parquet_files import open_file
from batchdeploy.adapters.parquet_splits.pinned_files import open_pinned
from batchdeploy.adapters.parquet_splits.row_reader import read_table
from batchdeploy.core.casts import Casts
from batchdeploy.core.lookup_places import IN_PLACE, LookupPlaces
from batchdeploy.core.pins import DataPin
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.work import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows:
    """A picklable function that reads a split as a table in plain types, with its columns cast.

    Attributes:
        pin: the partition, without its files.
        casts: columns to cast, to which type.
        schema: the columns to read.
        instants: the timestamps without a zone that other readers have in UTC: INT96 and nanoseconds.
        places: where a worker has the lookups' files.
    """

    pin: DataPin
    casts: Casts
    schema: pa.Schema
    instants: frozenset[str]
    places: LookupPlaces = IN_PLACE

    def __call__(self, split: Split) -> pa.Table:
        """The rows of a split that belong to the partition.

        Raises:
            DataError: the file changed since it was pinned, or its pages cannot be read.
            SourceError: the store failed.
        """
        pin = replace(self.pin, lookups=self.places(self.pin.lookups))
        return read_table(split, pin, self.schema.names, self.casts)


def split_rows(
    pin: DataPin,
    split: Split,
    columns: Collection[str] | None,
    where: Sequence[Predicate],
    casts: Casts,
) -> SplitRows:
    """The reader of a partition's splits, from the footer of one of them.

    Args:
        pin: the partition.
        split: one of its splits.
        columns: the columns to read, if the files have them; None for all.
        where: predicates, whose columns are read as well.
        casts: columns to cast, to which type; a value that is lost in the cast is null.
    """
    pin = replace(pin, files=())
    if columns is not None:
        columns = {*columns, *(predicate.column for predicate in where)}
    schema = read_table(replace(split, row_groups=()), pin, columns, casts).schema
    with open_pinned(split) as source, open_file(source) as file:
        stored = map(file.schema.column, range(len(file.schema)))
        instants = {column.path for column in stored if column.physical_type == "INT96"}
        instants |= {f.name for f in file.schema_arrow if f.type == pa.timestamp("ns")}
    instants = {name for name in instants if name in schema.names and name not in casts}
    return SplitRows(pin=pin, casts=casts, schema=schema, instants=frozenset(instants))
