"""Builds the reference profile, which drift is measured against, from a period without drift."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchdeploy.core.profiles import Reference, Role
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.documents import to_json
from batchdeploy.errors import DataError, Problem
from batchdeploy.kernel.reference_column import reference_column

if TYPE_CHECKING:
    import pandas as pd


@translate_system_errors("the reference")
def build_reference(
    frame: pd.DataFrame,
    *,
    features: Sequence[str],
    outputs: Sequence[str],
    partition: str,
    path: str | os.PathLike[str],
    description: str = "",
) -> Path:
    """Writes the reference profile of these rows and returns its path.

    Args:
        frame: the rows of the reference period: the model's inputs, its outputs for them, and the
            partition column. The outputs should be out of sample (cross-validated); outputs for training
            rows would be biased.
        features: the model's input columns.
        outputs: the declared outputs.
        partition: the partition column; alarms are calibrated on the variation between its partitions.
        path: the JSON file to write.
        description: one line that describes the rows.

    Raises:
        DataError: the frame has no rows, or lacks a column.
    """
    names = [*features, *outputs, partition]
    problems = tuple(Problem(name, "not a column of the frame") for name in names if name not in frame)
    if problems or frame.empty:
        raise DataError("the reference", problems or "the frame has no rows")
    found = frame.groupby(partition, sort=True).indices
    groups = list(found.values())
    roles: list[tuple[Role, str]] = [("feature", n) for n in features] + [("output", n) for n in outputs]
    columns = tuple(reference_column(frame[name], role, groups) for role, name in roles)
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        to_json(Reference(description=description, columns=columns, partitions=tuple(map(str, found)))),
        encoding="utf-8",
    )
    return file
