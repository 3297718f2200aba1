"""Errors of failed publishes. Each says what is published and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchdeploy.core.layout import Layout
from batchdeploy.core.system_errors import WRONG_NAMES, next_step, reason
from batchdeploy.errors import (
    BatchdeployError,
    PartitionError,
    Problem,
    PublishError,
    RequestError,
    StaleRunError,
)


def stale(folder: str, planned: str | None, found: str | None) -> StaleRunError:
    problem = Problem(folder, f"when planned, its run was {planned or 'none'}", found or "none")
    hint = "nothing was published; run it again: it plans against the published run"
    return StaleRunError("the published table", (problem,), hint=hint)


def unfinished(folder: str, waiting: str) -> PublishError:
    problem = Problem(folder, "the publish of an earlier run cannot be completed; check the disk", waiting)
    return PublishError("the published table", (problem,), hint="nothing of this run was published")


def cannot_exchange(staging: Path) -> PublishError:
    problem = Problem(str(staging), "this filesystem cannot exchange two folders in one step")
    hint = "put output.path on ext4, xfs, btrfs or tmpfs, or set publish.mode to pointer"
    return PublishError("the output", (problem,), hint=hint)


def no_generation(plan_folder: str, wanted: str | None, kept: tuple[str, ...]) -> PartitionError:
    problem = Problem(plan_folder, "no earlier run to go back to", wanted)
    hint = f"kept are: {', '.join(kept)}" if kept else "publish.keep_generations says how many are kept"
    return PartitionError("the published table", (problem,), hint=hint)


def same_filesystem(layout: Layout, folder: str, staged: Path) -> None:
    """Raises if staged folder and table are on different filesystems, so that no swap is possible."""
    layout.table.mkdir(parents=True, exist_ok=True)
    visible = layout.partition_dir(folder)
    for place in (layout.table, visible if visible.is_dir() else layout.table):
        if place.stat().st_dev != staged.stat().st_dev:
            problem = Problem(str(place), "is on another filesystem than its control folder")
            raise PublishError("the published table", (problem,), hint="mount the folder above both, not one")


def interrupted(error: OSError, where: Path, *, withdrawn: bool, swapped: bool) -> PublishError:
    hint = "the scores are visible already; the next run of any partition finishes their records"
    if withdrawn:
        hint = "nothing was published"
    elif not swapped:
        hint = "the publish is decided; the next run of any partition, or batchdeploy recover, finishes it"
    return PublishError(
        str(where), (Problem("disk", error.strerror or str(error), error.filename),), hint=hint
    )


def translated(error: OSError, where: Path | str, *, hint: str = "nothing was published") -> BatchdeployError:
    """The error for a failed operation: RequestError for an invalid name, else PublishError.

    Args:
        error: the failure.
        where: the path or URI.
        hint: what is published, and so on.
    """
    problem = Problem("store" if "://" in str(where) else "disk", reason(error), error.filename)
    if error.errno in WRONG_NAMES:
        return RequestError(str(where), (problem,), hint="output.path says where the scores go")
    return PublishError(str(where), (problem,), hint=f"{hint}; {next_step(error)}")


def gone(folder: str, run: str, missing: Sequence[str]) -> PartitionError:
    """The error for a generation with removed files."""
    problems = tuple(Problem(path, f"a file of run {run} is no longer stored") for path in missing)
    return PartitionError(folder, problems, hint="score the partition again with the model of that run")
