"""Rolls a partition back to an earlier run's scores, without scoring."""

from __future__ import annotations

from dataclasses import dataclass

from batchdeploy.core.pins import check_partition
from batchdeploy.workflows import timing
from batchdeploy.workflows.maintenance import recover
from batchdeploy.workflows.status import check_own
from batchdeploy.workflows.toolbox import Toolbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """The result of a rollback.

    Attributes:
        run_id: the run that is published now.
        replaced: the run that was published before, or None.
    """

    partition: str
    run_id: str
    replaced: str | None


def rollback(tools: Toolbox, partition: str, *, to: str | None = None) -> Rollback:
    """Publishes an earlier generation of a partition again.

    Its rows, files and records are unchanged. A later run of the partition publishes as usual.

    Args:
        tools: the deployment's toolbox.
        partition: the partition's value.
        to: the run to restore; None for the previous one.

    Raises:
        TableError: the table belongs to another deployment.
        PartitionError: the partition or the generation does not exist.
        StaleRunError: another run published the partition meanwhile.
    """
    check_own(tools)
    spec = tools.deployment.data.partition
    folder = spec.folder(check_partition(spec.column, partition, spec.format))
    recover(tools)
    published = tools.publishing.table.published_run(folder)
    at = timing.now().isoformat()
    run = tools.publishing.publisher.roll_back(folder, to=to, expected_run=published, at=at)
    return Rollback(partition=partition, run_id=run, replaced=published)
