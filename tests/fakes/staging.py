"""Staging in memory: the tables of each attempt, under the names of the files that would hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa

from batchdeploy.core.records import OutputFile, ScoredBatch
from batchdeploy.core.work import AttemptFolders, SplitResult
from batchdeploy.errors import Problem, PublishError
from fakes.source import md5_of

Kind = Literal["scored", "quarantine"]


@dataclass(slots=True)
class FakeAttempt:
    """The staged tables of one attempt.

    Attributes:
        tables: kind and name of a file to its rows.
        dead: whether its process ended without discarding it; recovery then removes it.
    """

    run_id: str
    tables: dict[tuple[Kind, str], Any] = field(default_factory=dict)
    dead: bool = False


def digest_of(table: Any) -> str:
    """The SHA-256 of the file that would hold these rows."""
    return hashlib.sha256(md5_of(table).encode()).hexdigest()


class FakeStaging:
    """The attempts that are neither published nor discarded.

    Attributes:
        handed_over: the attempts that another process may continue.
    """

    def __init__(self) -> None:
        self.attempts: dict[str, FakeAttempt] = {}
        self.handed_over: list[str] = []
        self._begun = 0

    def stage(self, folder: str, run_id: str) -> AttemptFolders:
        """Begins an attempt, whose folders are nowhere."""
        self._begun += 1
        name = f"{run_id}-{self._begun:012x}"
        self.attempts[name] = FakeAttempt(run_id)
        return AttemptFolders(name=name, scored="", quarantine="", scratch="")

    def write(self, attempt: str, kind: Kind, name: str, table: Any) -> OutputFile:
        """Stages rows like a worker, and returns the record of their file."""
        self._of(attempt).tables[kind, name] = table
        return OutputFile(path=name, rows=table.num_rows, size=table.nbytes, sha256=digest_of(table))

    def collect(
        self, attempt: AttemptFolders, run_id: str, results: Sequence[SplitResult]
    ) -> tuple[tuple[OutputFile, ...], tuple[OutputFile, ...]]:
        """Renames the tables in ``results`` and drops the others; returns (scored, quarantined)."""
        kept = self._of(attempt.name)
        before, kept.tables = kept.tables, {}

        def named(kind: Kind, files: Sequence[OutputFile | None]) -> tuple[OutputFile, ...]:
            final = []
            for number, file in enumerate(file for file in files if file is not None):
                name = f"part-{number:05d}-{run_id}.parquet"
                kept.tables[kind, name] = before[kind, file.path]
                final.append(replace(file, path=name))
            return tuple(final)

        scored = named("scored", [result.scored for result in results])
        return scored, named("quarantine", [result.quarantine for result in results])

    def tables(self, attempt: str, kind: Kind) -> dict[str, Any]:
        """The staged tables of one kind of an attempt, by name."""
        return {name: table for (of, name), table in self._of(attempt).tables.items() if of == kind}

    def staged(self, folder: str, scored: ScoredBatch) -> Any:
        """The scores in staging as a pandas frame."""
        found = self.tables(scored.attempt, "scored")
        return pa.concat_tables([found[file.path] for file in scored.files]).to_pandas()

    def discard(self, attempt: str) -> None:
        """Removes an attempt."""
        self.attempts.pop(attempt, None)

    def hand_over(self, attempt: str) -> None:
        """Records that another process may continue an attempt."""
        self.handed_over.append(attempt)

    def kill(self, attempt: str) -> None:
        """Marks the process of an attempt as dead, so that recovery removes it."""
        self._of(attempt).dead = True

    def _of(self, attempt: str) -> FakeAttempt:
        if attempt not in self.attempts:
            raise PublishError("staging", (Problem(attempt, "there is no such attempt"),))
        return self.attempts[attempt]
