"""Opens a table for publishing in the mode that ``publish.mode`` names."""

from __future__ import annotations

from batchdeploy.core.deployment import OutputRef, PublishSpec
from batchdeploy.core.layout import PARTITIONS, Layout
from batchdeploy.core.locations import is_uri
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import Problem, RequestError
from batchdeploy.ports import TableAccess
from batchdeploy.publishing.attempts import Attempts
from batchdeploy.publishing.claims import ClaimFiles
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.evidence import EvidenceFolder
from batchdeploy.publishing.generations import Generations
from batchdeploy.publishing.intents import IntentFiles
from batchdeploy.publishing.journal import Journal
from batchdeploy.publishing.maintenance import TableMaintenance
from batchdeploy.publishing.staging import StagingArea
from batchdeploy.publishing.swap import SwapPublisher
from batchdeploy.publishing.swap_cleanup import SwapCleanup
from batchdeploy.publishing.swap_table import SwapTable
from batchdeploy.publishing.trash import Trash
from batchdeploy.storage.run_records import RunRecords


def open_table(
    layout: Layout,
    output: OutputRef,
    spec: PublishSpec,
    records: RunRecords | None = None,
    *,
    stores: StorageSpec = StorageSpec(),
) -> TableAccess:
    """Opens a deployment's table.

    Args:
        layout: the table's folders.
        output: the table's path.
        spec: the deployment's ``publish`` section.
        records: the records of its runs that the caller uses.
        stores: how object stores are reached.

    Raises:
        RequestError: the table was published in the other mode.
        PublishError: the object store cannot be opened.
    """
    if spec.mode == "pointer":
        remote = is_uri(output.path)
        if not remote and any(layout.table.glob(f"{PARTITIONS}/*.parquet")):
            raise _other_mode(layout, "swap", spec)
        target = output.path.rstrip("/") if remote else str(layout.table)
        return open_pointer_table(layout, target, spec, records, stores=stores)
    if layout.pointer.is_file():
        raise _other_mode(layout, "pointer", spec)
    return open_swap_table(layout, spec, records)


def open_swap_table(layout: Layout, spec: PublishSpec, records: RunRecords | None = None) -> TableAccess:
    """Opens a table of partition folders that are swapped.

    Args:
        layout: the table's folders.
        spec: the deployment's ``publish`` section.
        records: the records of its runs that the caller uses.
    """
    control = ControlFolder.of(layout, spec, records)
    attempts, trash, intents = Attempts(layout), Trash(control), IntentFiles(control)
    generations = Generations(control, trash)
    table = SwapTable(control, generations)
    journal = Journal(control, intents, trash)
    cleanup = SwapCleanup(control, table, journal=journal, generations=generations, trash=trash)
    return TableAccess(
        staging=StagingArea(control, attempts),
        table=table,
        publisher=SwapPublisher(control, table, journal=journal, attempts=attempts, cleanup=cleanup),
        claims=ClaimFiles(control),
        maintenance=TableMaintenance(layout, attempts=attempts, trash=trash, mode=cleanup),
        evidence=EvidenceFolder(control),
    )


def open_pointer_table(
    layout: Layout,
    target: str,
    spec: PublishSpec,
    records: RunRecords | None = None,
    *,
    stores: StorageSpec = StorageSpec(),
) -> TableAccess:
    """Opens a table whose published files are named by a pointer document.

    Args:
        layout: the table's control folder.
        target: the table's URI or folder.
        spec: the deployment's ``publish`` section.
        records: the records of its runs that the caller uses.
        stores: how object stores are reached.

    Raises:
        PublishError: the object store cannot be opened.
    """
    # Imported here, because the object store's client comes with the extra `objects`.
    from batchdeploy.publishing.pointer import PointerPublisher
    from batchdeploy.publishing.pointer_attempts import PointerAttempts
    from batchdeploy.publishing.pointer_cleanup import PointerCleanup
    from batchdeploy.publishing.pointer_files import open_files
    from batchdeploy.publishing.pointer_records import PointerRecords
    from batchdeploy.publishing.pointer_staging import PointerStaging
    from batchdeploy.publishing.pointer_table import PointerTable

    control = ControlFolder.of(layout, spec, records, stores=stores)
    evidence = EvidenceFolder(control)
    files = open_files(target, control, stores)
    attempts = PointerAttempts(control, files, stores)
    table = PointerTable(files)
    kept = PointerRecords(control, table)
    cleanup = PointerCleanup(control, files, records=kept, attempts=attempts)
    return TableAccess(
        staging=PointerStaging(control, files, attempts),
        table=table,
        publisher=PointerPublisher(
            control, files, table=table, records=kept, attempts=attempts, evidence=evidence
        ),
        claims=ClaimFiles(control),
        maintenance=TableMaintenance(layout, attempts=attempts, trash=Trash(control), mode=cleanup),
        evidence=evidence,
    )


def _other_mode(layout: Layout, mode: str, spec: PublishSpec) -> RequestError:
    """The error for a table that has the other mode; readers would miss or duplicate rows."""
    problem = Problem("publish.mode", f"this table was published by {mode}", spec.mode)
    hint = "give the new mode an output.path of its own, and fill it by a backfill"
    return RequestError(str(layout.table), (problem,), hint=hint)
