"""What lies at a model's location: listed within bounds, before any of it is downloaded or parsed."""

from __future__ import annotations

import os
import posixpath
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from batchdeploy.core.policy import LimitsSpec
from batchdeploy.errors import Problem, RegistryError, RequestError

GIBIBYTE = 1 << 30
HINT = "raise limits.model_files or limits.model_gib where the model is meant to be so large"
# NOTE: MLflow writes this file into a model's folder when it is read; it is no part of the model.
READ_MARKER = "registered_model_meta"
# NOTE: a file that was written to so lately could be written to again without its times showing it.
STABLE_SECONDS = 3.0


class Listing(NamedTuple):
    """Each file of a location with what a listing says of it, and whether it would show a further change."""

    files: dict[str, str]
    stable: bool


def list_files(location: str, uri: str, limits: LimitsSpec, where: str) -> Listing:
    """What lies below a location: each file's size, on this machine its identity and times, in S3 its ETag.

    Args:
        location: where the model's files lie.
        uri: the registry's, for locations that only it can read.
        limits: how many files and bytes are taken.
        where: the model, for messages.

    Raises:
        RequestError: more than the limits, or something that is no plain file.
        RegistryError: nothing is there.
    """
    found: dict[str, str] = {}
    count = size = 0
    now, newest = time.time_ns(), 0
    for path, bytes_, said, changed in _list_entries(location, uri, where):
        count, size = count + 1, size + bytes_
        if count > limits.model_files:
            problem = Problem("files", "are more than limits.model_files", f"over {limits.model_files}")
            raise RequestError(where, (problem,), hint=HINT)
        if size > limits.model_gib * GIBIBYTE:
            problem = Problem("bytes", "are more than limits.model_gib", f"over {limits.model_gib:g} GiB")
            raise RequestError(where, (problem,), hint=HINT)
        # NOTE: folders are counted, so that one that never ends comes to an end.
        if not path.endswith("/") and path != READ_MARKER:
            found[path] = said
            newest = max(newest, changed)
    if not found:
        text = "holds no files: they were moved, or their store cannot be reached from here"
        raise RegistryError(where, (Problem(location, text),))
    return Listing(found, now - newest > STABLE_SECONDS * 1e9)


def _list_entries(location: str, uri: str, where: str) -> Iterator[tuple[str, int, str, int]]:
    """Path, size, what tells a change and when the last was, of each file; folders end in a slash."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if is_local_uri(location, is_tracking_or_registry_uri=False):
        yield from _list_local(Path(local_file_uri_to_path(location)), where)
    else:
        yield from _list_remote(location, uri)


def _list_local(folder: Path, where: str) -> Iterator[tuple[str, int, str, int]]:
    # NOTE: links are followed, as MLflow's copy follows them.
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        yield f"{parent}/", 0, "", 0
        for name in sorted(files):
            file = Path(parent, name)
            found = file.stat()
            if not stat.S_ISREG(found.st_mode):
                raise RequestError(where, (Problem(str(file), "is no plain file"),))
            said = (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
            changed = max(found.st_mtime_ns, found.st_ctime_ns)
            yield file.relative_to(folder).as_posix(), found.st_size, "-".join(map(str, said)), changed


def _list_remote(location: str, uri: str) -> Iterator[tuple[str, int, str, int]]:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(location, tracking_uri=uri, registry_uri=uri)
    waiting: list[str | None] = [None]
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
    """The ETag of each object directly in a folder of a bucket, which MLflow reads and passes over."""
    pages = getattr(repository, "_iterate_s3_paginated_results", None)
    if pages is None:
        return {}
    bucket, root = repository.parse_s3_compliant_uri(repository.artifact_uri)
    prefix = posixpath.join(root, folder).rstrip("/") + "/"
    found = (one for page in pages(bucket, prefix) for one in page.get("Contents", ()))
    return {posixpath.relpath(one["Key"], root): f"-{one['ETag']}" for one in found}
