"""A published table in memory: generations, the fence, rollback, claims and maintenance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from batchdeploy.core.layout import MANIFEST, run_key
from batchdeploy.core.maintenance import CleanupReport
from batchdeploy.core.records import OutputFile, Plan, ScoredBatch
from batchdeploy.core.tables import TableRecord, check_owner, check_table, table_record
from batchdeploy.errors import BatchdeployError, PartitionError, Problem, PublishError, StaleRunError
from batchdeploy.storage.interface import Storage, write
from fakes.staging import FakeStaging, digest_of

TABLE = "memory:scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeGeneration:
    """The rows of a partition as one attempt published them; ``files`` has them by name."""

    run_id: str
    attempt: str
    files: dict[str, Any]
    quarantine: dict[str, Any]


class FakeTable:
    """Reads and publishes one table; a manifest goes to the storage of the control folder.

    Attributes:
        failure: raised by every change of the table while it is set, like by a full disk.
        before_fence: called before a publish checks its fence, to simulate another run that publishes then.
        keep: the number of earlier generations that `FakeMaintenance` keeps.
        audit: one line per change: the action, the folder, the run, and the run that it replaced.
    """

    def __init__(self, staging: FakeStaging, storage: Storage, *, keep: int = 3) -> None:
        self.failure: BatchdeployError | None = None
        self.before_fence: Callable[[], None] = lambda: None
        self.keep = keep
        self.audit: list[tuple[str, str, str, str | None]] = []
        self._staging = staging
        self._storage = storage
        self._visible: dict[str, FakeGeneration] = {}
        self._earlier: dict[str, list[FakeGeneration]] = {}
        self._record: TableRecord | None = None
        self._by_attempt: dict[str, str] = {}

    def published_run(self, folder: str) -> str | None:
        """The id of the run that is published in a partition's folder, or None."""
        found = self._visible.get(folder)
        return None if found is None else found.run_id

    def published_partitions(self) -> tuple[str, ...]:
        """The folder names of all published partitions, sorted."""
        return tuple(sorted(self._visible))

    def files(self, folder: str) -> tuple[str, ...]:
        """The names of a partition's published tables."""
        return tuple(sorted(self.visible(folder))) if folder in self._visible else ()

    def visible(self, folder: str) -> dict[str, Any]:
        """A partition's published tables by name."""
        return {f"{TABLE}/{folder}/{name}": table for name, table in self._visible[folder].files.items()}

    def file_problems(
        self, folder: str, run_id: str, files: Sequence[OutputFile], *, content: bool
    ) -> tuple[Problem, ...] | None:
        """One problem per table of a run that differs from its record; None if the run does not exist."""
        known = [self._visible[folder]] if folder in self._visible else []
        known += self._earlier.get(folder, [])
        found = next((generation.files for generation in known if generation.run_id == run_id), None)
        if found is None:
            return None
        problems = []
        for file in files:
            table = found.get(file.path)
            if table is None:
                problems.append(Problem(file.path, "is not there"))
            elif table.nbytes != file.size:
                problems.append(Problem(file.path, f"was written with {file.size} bytes", str(table.nbytes)))
            elif content and digest_of(table) != file.sha256:
                problems.append(Problem(file.path, f"was written with SHA-256 {file.sha256}"))
        return tuple(problems)

    def attempt_of(self, folder: str) -> str | None:
        """The attempt that published a partition."""
        found = self._visible.get(folder)
        return None if found is None else found.attempt

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, newest first."""
        return tuple(generation.run_id for generation in self._earlier.get(folder, ()))

    def record(self) -> TableRecord | None:
        """The table's owner and columns; None if nothing is published."""
        return self._record if self._visible else None

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Publishes staged scores; returns the manifest's JSON, or that of an earlier run with the same pins.

        Raises:
            StaleRunError: a run with other pins published the partition since.
            TableError: the table belongs to another deployment, or has other columns.
            PublishError: the staged tables differ from the scored ones.
        """
        if scored.attempt in self._by_attempt:
            return self._by_attempt[scored.attempt]
        self._may_change()
        files = self._verified(scored)
        self.before_fence()
        found = self.published_run(plan.folder)
        if found == plan.run_id != plan.base_run:
            self._staging.discard(scored.attempt)
            first = self._storage.read(_manifest_key(plan))
            assert first is not None
            return first.content.decode()
        self._fence(plan.folder, plan.base_run, found)
        columns = {field.name: str(field.type) for table in files.values() for field in table.schema}
        mine = table_record(plan.deployment, columns)
        check_owner(TABLE, self.record(), plan.deployment)
        check_table(TABLE, self.record(), mine, evolve=plan.evolve)
        text, _ = manifest()
        self._show(
            plan.folder,
            FakeGeneration(
                run_id=plan.run_id,
                attempt=scored.attempt,
                files=files,
                quarantine=self._staging.tables(scored.attempt, "quarantine"),
            ),
            action="publish",
        )
        self._record = mine
        self._by_attempt[scored.attempt] = text
        write(self._storage, _manifest_key(plan), text.encode())
        self._staging.discard(scored.attempt)
        return text

    def roll_back(self, folder: str, *, to: str | None, expected_run: str | None, at: str) -> str:
        """Publishes an earlier generation again and returns its run id.

        Raises:
            PartitionError: there is no such generation.
            StaleRunError: another run has published the partition since.
        """
        self._may_change()
        self._fence(folder, expected_run, self.published_run(folder))
        kept = {generation.run_id: generation for generation in reversed(self._earlier.get(folder, []))}
        kept.pop(expected_run or "", None)
        chosen = to or next(reversed(kept), None)
        if chosen is None or chosen not in kept:
            hint = f"kept are: {', '.join(reversed(kept))}" if kept else None
            raise PartitionError(TABLE, (Problem(folder, "no earlier run to go back to", to),), hint=hint)
        self._show(folder, kept[chosen], action="rollback")
        return chosen

    def prune(self) -> tuple[str, ...]:
        """Drops the generations beyond `keep`; gives ``folder/run`` of each."""
        gone = []
        for folder, earlier in self._earlier.items():
            gone += [f"{folder}/{generation.run_id}" for generation in earlier[self.keep :]]
            del earlier[self.keep :]
        return tuple(gone)

    def _show(self, folder: str, generation: FakeGeneration, *, action: str) -> None:
        before = self._visible.get(folder)
        earlier = self._earlier.setdefault(folder, [])
        if before is not None:
            earlier.insert(0, before)
        earlier[:] = [one for one in earlier if one.run_id != generation.run_id]
        self._visible[folder] = generation
        replaced = None if before is None else before.run_id
        self.audit.append((action, folder, generation.run_id, replaced))

    def _verified(self, scored: ScoredBatch) -> dict[str, Any]:
        found = self._staging.tables(scored.attempt, "scored")
        if {name: table.num_rows for name, table in found.items()} != {f.path: f.rows for f in scored.files}:
            problem = Problem(scored.attempt, "are not those that were scored", ", ".join(sorted(found)))
            raise PublishError("the staged files", (problem,), hint="nothing was published")
        return found

    def _may_change(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _fence(self, folder: str, planned: str | None, found: str | None) -> None:
        if found != planned:
            problem = Problem(folder, f"when planned, its run was {planned or 'none'}", found or "none")
            raise StaleRunError("the published table", (problem,), hint="nothing was published")


def _manifest_key(plan: Plan) -> str:
    return f"{run_key(plan.folder, plan.run_id)}/{MANIFEST}"


class FakeClaims:
    """Who has which partition's turn."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}

    def claim(self, folder: str, holder: str, *, expected_holder: str | None = None) -> str:
        """Takes a partition for one run; gives who holds it then."""
        current = self.holders.get(folder)
        if current in (None, holder, expected_holder):
            self.holders[folder] = holder
        return self.holders[folder]

    def release(self, folder: str, holder: str) -> None:
        """Gives a claimed partition back."""
        if self.holders.get(folder) == holder:
            del self.holders[folder]


class FakeMaintenance:
    """Removes the attempts of dead processes, and generations beyond the retention.

    Attributes:
        recovered_at: when recovery was asked for, each time.
    """

    def __init__(self, staging: FakeStaging, table: FakeTable) -> None:
        self.recovered_at: list[float] = []
        self._staging = staging
        self._table = table

    def recover(self, *, now: float) -> CleanupReport:
        """Removes the attempts of dead processes."""
        self.recovered_at.append(now)
        dead = tuple(name for name, attempt in self._staging.attempts.items() if attempt.dead)
        for name in dead:
            self._staging.discard(name)
        return CleanupReport(attempts=dead)

    def collect_garbage(self, *, now: float) -> CleanupReport:
        """All of `recover`, and the generations beyond the retention."""
        return CleanupReport(attempts=self.recover(now=now).attempts, generations=self._table.prune())
