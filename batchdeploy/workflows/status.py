"""The status of partitions and runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Literal

from batchdeploy.core.layout import run_key
from batchdeploy.core.records import Manifest, Refusal
from batchdeploy.core.schedule import expected
from batchdeploy.core.tables import check_owner
from batchdeploy.errors import DataError, Problem, PublishError
from batchdeploy.workflows.toolbox import Toolbox

# How many partitions the usual duration of a run is taken from.
RECENT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of one partition.

    Attributes:
        state: ``new``, ``published``, ``refused`` by a gate, ``stopped`` (begun, but neither published nor
            refused: it was stopped, killed, failed outside, or is still running), or ``missing`` (the
            calendar expects it, but it has no rows).
    """

    partition: str
    state: Literal["new", "published", "refused", "stopped", "missing"]
    run_id: str | None = None
    manifest: Manifest | None = None


def statuses(tools: Toolbox) -> Sequence[Status]:
    """The status of every partition with rows or scores, and of those that the calendar expects between."""
    spec = tools.deployment.data.partition
    published = {
        value
        for name in tools.publishing.table.published_partitions()
        if (value := spec.value(name)) is not None
    }
    known = published | set(tools.source.partitions(tools.deployment.data))
    first = min(known) if spec.start is None else min(*known, spec.start)
    every = known | set(expected(first, max(known), spec))
    return [_status(tools, p) if p in known else Status(partition=p, state="missing") for p in sorted(every)]


def usual_seconds(tools: Toolbox) -> float | None:
    """The median seconds of the visible runs of the last twenty partitions, or None where there is none."""
    recent = [manifest.seconds for manifest in _recent_manifests(tools)]
    return median(recent) if recent else None


def _recent_manifests(tools: Toolbox) -> Iterator[Manifest]:
    for folder in tools.publishing.table.published_partitions()[-RECENT:]:
        # Somebody else's files, or a spoilt manifest, must not fail an estimate for another partition.
        with suppress(PublishError, DataError):
            run = tools.publishing.table.published_run(folder)
            manifest = None if run is None else tools.records.find(run_key(folder, run), Manifest)
            if manifest is not None:
                yield manifest


def code_allowed(tools: Toolbox) -> tuple[Problem, ...]:
    """The parts of the model that run its author's code, if ``model.code`` is ``allow``."""
    model = tools.deployment.model
    return tools.registry.code_problems(model) if model.code == "allow" else ()


def check_own(tools: Toolbox) -> None:
    """Checks that the published table, if any, belongs to this deployment.

    Raises:
        TableError: it belongs to another deployment.
    """
    check_owner(tools.deployment.output.path, tools.publishing.table.record(), tools.deployment)


def _status(tools: Toolbox, partition: str) -> Status:
    folder = tools.deployment.data.partition.folder(partition)
    published = tools.publishing.table.published_run(folder)
    if published is not None:
        manifest = tools.records.find(run_key(folder, published), Manifest)
        return Status(partition=partition, state="published", run_id=published, manifest=manifest)
    tried = tools.records.runs(folder)
    if not tried:
        return Status(partition=partition, state="new")
    refused = tools.records.find(tried[-1].key, Refusal) is not None
    return Status(partition=partition, state="refused" if refused else "stopped", run_id=tried[-1].run_id)
