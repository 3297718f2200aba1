"""Lists the files at a model's location within limits, before anything is downloaded or parsed."""

from __future__ import annotations

import os
import posixpath
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.registry_uris import RegistryUris
from batchdeploy.errors import Problem, RegistryError, RequestError

GIBIBYTE = 1 << 30
HINT = "raise limits.model_files or limits.model_gib where the model is meant to be so large"
# MLflow writes this file into a model's folder on reading it; it is not part of the model.
READ_MARKER = "registered_model_meta"
# A file written to more recently could change again without a change of its timestamps.
STABLE_SECONDS = 3.0


class Listing(NamedTuple):
    """The files of a location.

    Attributes:
        files: path to size and identity or ETag.
        stable: whether any later write would change the listing.
    """

    files: dict[str, str]
    stable: bool


def list_files(location: str, uris: RegistryUris, limits: LimitsSpec, where: str) -> Listing:
    """Lists the files below a location: size, plus inode and timestamps (local) or ETag (S3).

    Args:
        location: where the model's files are stored.
        uris: of registry and tracking server, for locations that only they can read.
        limits: the most files and bytes.
        where: the model, for messages.

    Raises:
        RequestError: the limits are exceeded, or an entry is not a plain file.
        RegistryError: the location holds no files.
    """
    found: dict[str, str] = {}
    count = size = 0
    now, newest = time.time_ns(), 0
    for path, bytes_, state, changed in _list_entries(location, uris, where):
        count, size = count + 1, size + bytes_
        if count > limits.model_files:
            problem = Problem("files", "are more than limits.model_files", f"over {limits.model_files}")
            raise RequestError(where, (problem,), hint=HINT)
        if size > limits.model_gib * GIBIBYTE:
            problem = Problem("bytes", "are more than limits.model_gib", f"over {limits.model_gib:g} GiB")
            raise RequestError(where, (problem,), hint=HINT)
        # Folders count too, so that an endless folder tree reaches the limit.
        if not path.endswith("/") and path != READ_MARKER:
            found[path] = state
            newest = max(newest, changed)
    if not found:
        text = "holds no files: they were moved, or their store cannot be reached from here"
        raise RegistryError(where, (Problem(location, text),))
    return Listing(found, now - newest > STABLE_SECONDS * 1e9)


def _list_entries(location: str, uris: RegistryUris, where: str) -> Iterator[tuple[str, int, str, int]]:
    """Yields (path, size, version mark, last change in ns) of each file; folder paths end in a slash."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if is_local_uri(location, is_tracking_or_registry_uri=False):
        yield from _list_local(Path(local_file_uri_to_path(location)), where)
    else:
        yield from _list_remote(location, uris)


def _list_local(folder: Path, where: str) -> Iterator[tuple[str, int, str, int]]:
    # Follows links, as MLflow's copy does.
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        yield f"{parent}/", 0, "", 0
        for name in sorted(files):
            file = Path(parent, name)
            found = file.stat()
            if not stat.S_ISREG(found.st_mode):
                raise RequestError(where, (Problem(str(file), "is no plain file"),))
            state = (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
            changed = max(found.st_mtime_ns, found.st_ctime_ns)
            yield file.relative_to(folder).as_posix(), found.st_size, "-".join(map(str, state)), changed


def _list_remote(location: str, uris: RegistryUris) -> Iterator[tuple[str, int, str, int]]:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(
        location, tracking_uri=uris.tracking, registry_uri=uris.registry
    )
    # NOTE: for Unity Catalog, MLflow joins paths with what it is given; None is a TypeError there.
    waiting: list[str | None] = ["" if location.startswith("models:/") else None]
    while waiting:
        folder = waiting.pop()
        marks = _etags(repository, folder or "")
        for entry in repository.list_artifacts(folder):
            if entry.is_dir:
                waiting.append(entry.path)
                yield f"{entry.path}/", 0, "", 0
            else:
                yield (
                    entry.path,
                    int(entry.file_size or 0),
                    f"{entry.file_size}{marks.get(entry.path, '')}",
                    0,
                )


def _etags(repository: Any, folder: str) -> dict[str, str]:
    """The ETag of each object directly in a folder of a bucket; MLflow's own listing drops it."""
    pages = getattr(repository, "_iterate_s3_paginated_results", None)
    if pages is None:
        return {}
    bucket, root = repository.parse_s3_compliant_uri(repository.artifact_uri)
    prefix = posixpath.join(root, folder).rstrip("/") + "/"
    found = (one for page in pages(bucket, prefix) for one in page.get("Contents", ()))
    return {posixpath.relpath(one["Key"], root): f"-{one['ETag']}" for one in found}
