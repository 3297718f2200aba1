"""Sends local tables of lookups to workers on other machines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from batchdeploy.core.lookup_places import IN_PLACE, LookupPlaces
from batchdeploy.core.path_hints import is_remote
from batchdeploy.core.pins import LookupPin
from batchdeploy.errors import DataError, Problem
from batchdeploy.ports import Workers

MEBIBYTE = 1 << 20


def send_lookups(pins: Sequence[LookupPin], workers: Workers, *, most_mib: float) -> LookupPlaces:
    """Sends the local files of lookups to workers that may not see them; returns where they have them.

    Workers that share this machine's disk, as those of a local session do, read the files where they are.

    Args:
        pins: the lookups of a partition.
        workers: who reads them.
        most_mib: how large the files of one table may be.

    Raises:
        DataError: a table is larger.
    """
    files = {file.location for pin in pins for file in pin.files if not is_remote(file.location)}
    if not files or not workers.remote:
        return IN_PLACE
    _refuse_large(pins, most_mib)
    names = {location: f"{number}.parquet" for number, location in enumerate(sorted(files))}
    with tempfile.TemporaryDirectory(prefix="batchdeploy-") as folder:
        for location, name in names.items():
            os.symlink(location, Path(folder, name))
        sent = workers.distribute(Path(folder))
    return LookupPlaces(workers.locate, tuple((path, f"{sent}/{name}") for path, name in names.items()))


def _refuse_large(pins: Sequence[LookupPin], most_mib: float) -> None:
    for pin in pins:
        size = sum(file.size for file in pin.files if not is_remote(file.location))
        if size > most_mib * MEBIBYTE:
            what = f"is sent to the workers, and larger than limits.lookup_mib = {most_mib:g}"
            problem = Problem(pin.path, what, f"{size / MEBIBYTE:,.0f} MiB")
            hint = "put the table into an object store that the workers read, or raise the limit"
            raise DataError(pin.path, (problem,), hint=hint)
