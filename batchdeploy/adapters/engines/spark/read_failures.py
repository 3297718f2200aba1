"""Names the file that Spark could not read, in its own long messages."""

from __future__ import annotations

import re

from batchdeploy.adapters.engines.spark.stored_files import BY_SPLITS, pinned_place, place
from batchdeploy.core.path_hints import is_remote
from batchdeploy.core.pins import DataPin
from batchdeploy.errors import BatchdeployError, DataError, Problem, RequestError

UNREAD = re.compile(r"FAILED_READ_FILE\.(\w+)\].*? file:? (\S+?)\.(?:\s|$)", re.DOTALL)
NO_FILESYSTEM = re.compile(
    r"No FileSystem for scheme \"?(\w+)\"?|Class (org\.apache\.hadoop\.fs\.\S+|com\.google\.\S+) not found"
)
JARS = "org.apache.hadoop:hadoop-aws, for S3, in the version of Spark's Hadoop"


def read_failure(pin: DataPin, text: str) -> BatchdeployError | None:
    """The error to raise where Spark could not read a pinned file; None where something else failed.

    Args:
        pin: the files.
        text: Spark's message.
    """
    if NO_FILESYSTEM.search(text):
        what = "Spark lacks the jar of the filesystem of this store"
        problem = Problem("data.path", what, pin.files[0].location)
        hint = f"engine.conf: {{spark.jars.packages: ...}} names it ({JARS}); or {BY_SPLITS}"
        return RequestError("engine.read: spark", (problem,), hint=hint)
    # Of a store, the reason is another than the file's pages perhaps.
    if (found := UNREAD.search(text)) and not any(map(is_remote, (file.location for file in pin.files))):
        paths = {pinned_place(file.location): file.path for file in pin.files}
        path = paths.get(place(found.group(2)), place(found.group(2)))
        gone = found.group(1) == "FILE_NOT_EXIST"
        what = "changed since it was pinned" if gone else "its pages cannot be read"
        hint = "run it again; nothing was published" if gone else "get the file again"
        return DataError(path, (Problem(path, what),), hint=hint)
    return None
