"""Checks before the first task that workers have what scoring needs: versions, packages, access."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from batchdeploy.core.work import WorkerCheck, WorkerReport
from batchdeploy.errors import BatchdeployError, EngineError, MissingPackageError, Problem, RequestError
from batchdeploy.host.versions import REQUIRED_PACKAGES, missing_packages, version_mismatches
from batchdeploy.ports import ModelFetcher, Workers
from batchdeploy.redaction import logger

LOG = logger("batchdeploy")
SHARE = (
    "mount the project on the workers at the same path; or keep all in an object store: data.path, and "
    "publish: {mode: pointer} with output.path and output.control"
)
CREDENTIALS = (
    "workers take credentials from their own environment or the role of their machine; see docs/clusters.md"
)


def check_workers(
    fetcher: ModelFetcher,
    workers: Workers,
    model: Path,
    *,
    policy: Literal["refuse", "warn"],
    check: WorkerCheck | None = None,
) -> None:
    """Compares the workers' Python and packages with those that are needed, and runs ``check`` on each.

    Raises:
        RequestError: packages are missing, folders are not shared, or versions differ and ``policy`` is
            ``refuse``; lists all differences. A retry does not help.
        EngineError: a store refuses the workers, or does not answer them.
    """
    wanted = fetcher.package_versions(model)
    names = (*wanted, *(name for name in REQUIRED_PACKAGES if name not in wanted))
    reports = workers.inspect(names, check)
    installed = [(report.worker, report.versions) for report in reports]
    if missing := tuple(missing_packages(installed)):
        raise MissingPackageError(
            "the workers", missing, hint=f"install there: pip install {' '.join(REQUIRED_PACKAGES)}"
        )
    if any(report.problems for report in reports):
        raise _no_access(reports)
    problems = tuple(version_mismatches(wanted, installed))
    if not problems:
        return
    hint = "install the versions that the model was logged with, or set engine.versions to warn"
    error = RequestError("the workers", problems, hint=hint)
    if policy == "refuse":
        raise error
    LOG.warning("%s", error)


def _no_access(reports: Sequence[WorkerReport]) -> BatchdeployError:
    """The error for workers that cannot read the input or write the scores."""
    found = [(report.worker, problem) for report in reports for problem in report.problems]
    kinds = {problem.kind for _, problem in found}
    problems = tuple(
        Problem(worker, f"cannot use {problem.place}: {problem.problem.removeprefix(f'{problem.place}: ')}")
        for worker, problem in found
    )
    if "package" in kinds:
        return MissingPackageError("the workers", problems, hint="pip install batchdeploy[objects] there")
    if "disk" in kinds:
        return RequestError("the workers", problems, hint=SHARE)
    return EngineError("the workers", problems, hint=CREDENTIALS)
