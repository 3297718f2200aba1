"""Converts predicates to Spark column expressions."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from batchdeploy.core.predicates import Predicate

if TYPE_CHECKING:
    from pyspark.sql import Column


def condition(column: Column, predicate: Predicate) -> Column:
    """A predicate as a Spark expression, built without parsing SQL."""
    if predicate.op in ("is_null", "not_null"):
        return column.isNull() if predicate.op == "is_null" else column.isNotNull()
    if predicate.op in ("in", "not_in"):
        inside = column.isin(list(predicate.values))
        return inside if predicate.op == "in" else ~inside
    found: Column = getattr(operator, predicate.op)(column, predicate.value)
    return found
