"""Distributes this library and model folders to remote workers, and finds out what workers have."""

from __future__ import annotations

import hashlib
import json
import pickle
import socket
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchdeploy.core.work import WorkerCheck, WorkerProblem, WorkerReport
from batchdeploy.host.versions import versions_here

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

PACKAGE = Path(__file__).parents[3]
DISTRIBUTED = "distributed:"
# A cluster has no list of its workers, so more tasks report than most clusters have executors.
REPORT_TASKS = 64
EPOCH = (1980, 1, 1, 0, 0, 0)


def is_remote(master: str) -> bool:
    """Whether the workers run on a cluster instead of in local mode."""
    return not master.startswith("local")


class DistributedFiles:
    """Files sent to the workers of a session, each once; kept for executors that start later.

    Args:
        session: the Spark session.
    """

    def __init__(self, session: SparkSession) -> None:
        self._session = session
        self._archives = tempfile.TemporaryDirectory(prefix="batchdeploy-distributed-")
        self._sent: set[str] = set()

    def add_library(self) -> None:
        """Sends this version of batchdeploy, whichever version the workers have installed."""
        archive = _archive(PACKAGE, PACKAGE.name, Path(self._archives.name))
        self._session.addArtifacts(str(archive), pyfile=True)

    def add_folder(self, folder: Path) -> str:
        """Sends a folder and returns its name for `locate_distributed`."""
        archive = _archive(folder, "", Path(self._archives.name))
        if archive.name not in self._sent:
            self._session.addArtifacts(str(archive), archive=True)
            self._sent.add(archive.name)
        return DISTRIBUTED + archive.name

    def close(self) -> None:
        """Removes the archives; executors that start later cannot fetch them."""
        self._archives.cleanup()


def locate_distributed(name: str) -> str:
    """The local path of a distributed folder on this worker; the path of any other folder unchanged."""
    if not name.startswith(DISTRIBUTED):
        return name
    from pyspark import SparkFiles

    return str(Path(SparkFiles.getRootDirectory()) / name.removeprefix(DISTRIBUTED))


def worker_reports(
    session: SparkSession, names: Sequence[str], check: WorkerCheck | None
) -> tuple[WorkerReport, ...]:
    """The versions of Python and packages on each worker host, and what it cannot do, sorted by host."""
    tasks = session.range(0, REPORT_TASKS, 1, REPORT_TASKS)
    run = None if check is None else pickle.dumps(check.run)
    frame = tasks.mapInPandas(_report_udf(tuple(names), run), "host string, found string, problems string")
    versions: dict[str, dict[str, str]] = {}
    problems: dict[str, dict[WorkerProblem, None]] = {}
    for row in frame.distinct().collect():
        versions[row.host] = dict(pair.split("=", 1) for pair in row.found.split(" ") if pair)
        found = problems.setdefault(row.host, {})
        found |= {WorkerProblem(*problem): None for problem in json.loads(row.problems)}
    return tuple(WorkerReport(host, versions[host], tuple(problems[host])) for host in sorted(versions))


def _report_udf(
    names: tuple[str, ...], run: bytes | None
) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    def tell(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import pandas as pd

        for frame in frames:
            versions = " ".join(f"{name}={version}" for name, version in versions_here(names).items())
            answer = {"host": socket.gethostname(), "found": versions, "problems": json.dumps(_tried(run))}
            yield pd.DataFrame({name: [value] * len(frame) for name, value in answer.items()})

    return tell


def _tried(run: bytes | None) -> tuple[WorkerProblem, ...]:
    """What a pickled check finds on this worker."""
    if run is None:
        return ()
    try:
        found: tuple[WorkerProblem, ...] = pickle.loads(run)()
    except ImportError as error:
        return (WorkerProblem("package", "the input", f"needs the package {error.name}, which is missing"),)
    return found


def _archive(folder: Path, prefix: str, into: Path) -> Path:
    """A reproducible ZIP archive of a folder: equal files give equal bytes and an equal name."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    archive = into / f"{prefix or 'folder'}-{digest.hexdigest()[:16]}.zip"
    if not archive.exists():
        with zipfile.ZipFile(archive, "w") as packed:
            for file in files:
                entry = zipfile.ZipInfo(str(Path(prefix) / file.relative_to(folder)), EPOCH)
                entry.external_attr = 0o644 << 16
                packed.writestr(entry, file.read_bytes())
    return archive
