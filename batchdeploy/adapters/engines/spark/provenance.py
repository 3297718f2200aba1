"""Where each row comes from, as far as Spark tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

UNKNOWN = -1


def provenance(frame: DataFrame) -> tuple[Column, Column]:
    """Each row's file, a URI as Spark writes it or an empty text, and its position there, or -1.

    Args:
        frame: rows of files, of a table, or of a view.
    """
    from pyspark.sql import functions

    unknown = functions.lit(UNKNOWN).cast("bigint")
    position = _resolved(frame, lambda: frame.metadataColumn("_metadata")["row_index"])
    file = _resolved(frame, lambda: frame.metadataColumn("_metadata")["file_path"])
    if file is None:
        # A view has no metadata, and several tables have not one file for each row.
        file = _resolved(frame, functions.input_file_name)
    return (
        functions.lit("") if file is None else file,
        unknown if position is None else functions.coalesce(position, unknown),
    )


def _resolved(frame: DataFrame, make: Callable[[], Column]) -> Column | None:
    """The column, if rows of the frame have it."""
    from pyspark.errors import AnalysisException

    try:
        column = make()
        # Over Connect, only this resolves the column.
        frame.select(column).schema  # noqa: B018
    except AnalysisException:
        return None
    return column
