"""What is there already: partitions and their runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from batchdeploy.core.layout import run_key
from batchdeploy.core.records import Manifest, Refusal
from batchdeploy.core.schedule import expected
from batchdeploy.core.tables import check_owner
from batchdeploy.errors import Problem
from batchdeploy.workflows.toolbox import Toolbox

SEARCH_DEPTH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One partition as it stands.

    Attributes:
        state: ``new``, ``published``, ``refused`` by a gate, ``stopped`` (begun, and neither published nor
            refused: it was stopped, killed, failed outside, or is at work), or ``missing``: the calendar
            expects it, and it has no rows.
    """

    partition: str
    state: Literal["new", "published", "refused", "stopped", "missing"]
    run_id: str | None = None
    manifest: Manifest | None = None


def statuses(tools: Toolbox) -> Sequence[Status]:
    """Every partition that there are rows or scores for, and each that the calendar expects between them."""
    spec = tools.deployment.data.partition
    prefix = spec.prefix
    published = {
        name.removeprefix(prefix) for name in tools.table.published_partitions() if name.startswith(prefix)
    }
    known = published | set(tools.source.partitions(tools.deployment.data))
    first = min(known) if spec.start is None else min(*known, spec.start)
    every = known | set(expected(first, max(known), spec))
    return [_status(tools, p) if p in known else Status(partition=p, state="missing") for p in sorted(every)]


def usual_seconds(tools: Toolbox) -> float | None:
    """The median seconds of the last twenty published runs, or None where there is none."""
    published = sorted((run.published, run.key) for run in tools.records.runs() if run.published is not None)
    recent = [tools.records.read(key, Manifest).seconds for _, key in published[-20:]]
    return median(recent) if recent else None


def code_allowed(tools: Toolbox) -> tuple[Problem, ...]:
    """What in the model runs code of whoever registered it, where ``model.code: allow`` lets it."""
    model = tools.deployment.model
    return tools.registry.code_in(model) if model.code == "allow" else ()


def check_own(tools: Toolbox) -> None:
    """Does nothing where the published table is this deployment's, or nobody's.

    Raises:
        TableError: it is another deployment's.
    """
    check_owner(tools.deployment.output.path, tools.table.record(), tools.deployment)


def find_runs(root: Path, run_id: str) -> list[Path]:
    """The folders of all runs below a root, or in a table's control folder, whose id begins so."""
    if not run_id.isalnum():
        return []
    controls = (
        [root]
        if root.name.endswith(".batchdeploy")
        else [
            Path(folder, name)
            for folder, names, _ in _walk(root)
            for name in names
            if name.endswith(".batchdeploy")
        ]
    )
    return sorted(
        run
        for control in controls
        for pattern in (f"*/{run_id}*", f"*/*/attempts/{run_id}*")
        for run in (control / "runs").glob(pattern)
    )


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` over a few levels, past environments, caches and partitions."""
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if not n.startswith(".") and "=" not in n and n != "node_modules"]
        yield folder, list(names), files
        deep = len(Path(folder).relative_to(root).parts) >= SEARCH_DEPTH
        names[:] = [] if deep else [n for n in names if not n.endswith(".batchdeploy")]


def _status(tools: Toolbox, partition: str) -> Status:
    folder = tools.deployment.data.partition.folder(partition)
    published = tools.table.published_run(folder)
    if published is not None:
        manifest = tools.records.find(run_key(folder, published), Manifest)
        return Status(partition=partition, state="published", run_id=published, manifest=manifest)
    tried = tools.records.runs(folder)
    if not tried:
        return Status(partition=partition, state="new")
    refused = tools.records.find(tried[-1].key, Refusal) is not None
    return Status(partition=partition, state="refused" if refused else "stopped", run_id=tried[-1].run_id)
