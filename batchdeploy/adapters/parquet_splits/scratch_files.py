"""Writes and reads an attempt's scratch: hashes of keys, and what the model prints."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchdeploy.core.layout import PRINTED
from batchdeploy.core.locations import is_uri
from batchdeploy.core.work import AttemptFolders
from batchdeploy.storage.interface import write
from batchdeploy.storage.opening import open_location, plain_store_errors

if TYPE_CHECKING:
    import numpy as np

KEYS = "keys"
# Each file in a store costs a round trip, so that many are read at a time.
READERS = 16


def write_hashes(folders: AttemptFolders, name: str, hashes: Sequence[np.ndarray[Any, Any]]) -> str:
    """Writes a split's hashes for `read_hashes`; returns the file's name."""
    import numpy as np

    values = np.concatenate(hashes) if hashes else np.empty(0, "uint64")
    name = f"{name}.npy"
    if is_uri(folders.scratch):
        content = io.BytesIO()
        np.save(content, values)
        with plain_store_errors(folders.scratch):
            write(open_location(folders.scratch, folders.storage), f"{KEYS}/{name}", content.getvalue())
        return name
    file = Path(folders.scratch, KEYS, name)
    file.parent.mkdir(exist_ok=True)
    np.save(file, values)
    return name


def read_hashes(folders: AttemptFolders, names: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """The hashes that `write_hashes` wrote to files of these names."""
    import numpy as np

    storage = open_location(folders.scratch, folders.storage)

    def read(name: str) -> np.ndarray[Any, Any]:
        with storage.open_input(f"{KEYS}/{name}") as stream:
            return np.asarray(np.load(io.BytesIO(stream.read())))

    if not is_uri(folders.scratch):
        return [np.load(Path(folders.scratch, KEYS, name)) for name in names]
    with plain_store_errors(folders.scratch), ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, names))


@contextmanager
def printed_file(folders: AttemptFolders, name: str) -> Iterator[Path]:
    """Yields the path of a file for printed output, which is in scratch at the end if anybody wrote it.

    Printed output is evidence only: that it cannot be stored is no reason to fail a task.
    """
    if not is_uri(folders.scratch):
        yield Path(folders.scratch, PRINTED, name)
        return
    with tempfile.TemporaryDirectory(prefix="batchdeploy-printed-") as folder:
        file = Path(folder, name)
        try:
            yield file
        finally:
            with suppress(OSError):
                if file.is_file():
                    storage = open_location(folders.scratch, folders.storage)
                    write(storage, f"{PRINTED}/{name}", file.read_bytes())
