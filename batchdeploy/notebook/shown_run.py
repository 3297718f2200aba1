"""The records of a run for display in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchdeploy.core.locations import Location
from batchdeploy.core.records import CheckReport, DriftReport, Manifest, Plan, Refusal, ScoredBatch
from batchdeploy.errors import Problem
from batchdeploy.workflows.show_run import RunView, render_run


@dataclass(frozen=True, slots=True, repr=False)
class ShownRun:
    """The records of a run or an attempt, and whether they and its files are complete and unchanged.

    A record is None if the run did not get that far or the record is unreadable; see `problems`.
    """

    view: RunView

    @property
    def folder(self) -> Location:
        """The folder of the records."""
        return self.view.folder

    @property
    def whole(self) -> bool:
        """Whether no record or file is missing, unreadable or changed."""
        return self.view.whole

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Missing, unreadable or changed records and files."""
        return self.view.problems

    @property
    def printed(self) -> str:
        """The model's printed output; empty if there is none."""
        return self.view.printed

    @property
    def plan(self) -> Plan | None:
        return self._records.get("Plan")

    @property
    def check(self) -> CheckReport | None:
        return self._records.get("CheckReport")

    @property
    def scored(self) -> ScoredBatch | None:
        return self._records.get("ScoredBatch")

    @property
    def drift(self) -> DriftReport | None:
        return self._records.get("DriftReport")

    @property
    def refusal(self) -> Refusal | None:
        return self._records.get("Refusal")

    @property
    def manifest(self) -> Manifest | None:
        return self._records.get("Manifest")

    @property
    def _records(self) -> Mapping[str, Any]:
        return self.view.records

    def __repr__(self) -> str:
        return render_run(self.view, folder=str(self.folder))

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(repr(self))}</pre>"
