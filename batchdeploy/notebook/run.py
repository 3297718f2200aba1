"""A run as a notebook shows it: its manifest, and its tables as DataFrames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batchdeploy import assembly
from batchdeploy.core.layout import PAGE
from batchdeploy.core.locations import Location
from batchdeploy.core.records import DriftReport, Manifest
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import PartitionError, Problem
from batchdeploy.workflows.run import Outcome

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one partition: its manifest, and its tables as DataFrames.

    Attributes:
        status: ``published`` by this call, ``identical``: visible already with the same pins, or ``skipped``:
            there are no rows, and ``on_missing`` says to go on without.
        partition: the partition's value.
        found: the manifest, and the folder with the run's records and its report; None where it was skipped.
        stores: how an object store is reached.
        files: the published Parquet files; URIs where they are in an object store.
        seconds: what each stage took that this call went through.
        reason: why it was skipped.
    """

    status: Literal["published", "identical", "skipped"]
    partition: str
    found: tuple[Manifest, Location] | None = field(default=None, repr=False)
    stores: StorageSpec = field(default=StorageSpec(), repr=False)
    files: tuple[Path | str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    @classmethod
    def of(cls, tools: assembly.LocalToolbox, outcome: Outcome) -> Run:
        """The run of a deployment's partition."""
        spec = tools.deployment.data.partition
        files = tools.publishing.table.files(spec.folder(outcome.manifest.partition))
        return cls(
            status=outcome.status,
            partition=outcome.manifest.partition,
            found=(outcome.manifest, outcome.folder),
            stores=tools.deployment.storage,
            seconds=outcome.seconds,
            files=tuple(file if "://" in file else Path(file) for file in files),
        )

    @property
    def manifest(self) -> Manifest:
        """What the run did.

        Raises:
            PartitionError: it was skipped; as for all that such a run has not.
        """
        return self._found()[0]

    @property
    def folder(self) -> Location:
        """The run's records and its report: a path, or a URI."""
        return self._found()[1]

    def _found(self) -> tuple[Manifest, Location]:
        if self.found is None:
            problem = Problem(self.partition, "was skipped (on_missing: skip)", self.reason)
            raise PartitionError("the run", (problem,), hint="look at its status first")
        return self.found

    @property
    def scores(self) -> pd.DataFrame:
        """The published rows: keys, kept columns, outputs, model version, run id and time of scoring."""
        import pandas as pd

        self._found()
        return pd.concat([pd.read_parquet(file) for file in self.files], ignore_index=True)

    @property
    def drift(self) -> pd.DataFrame:
        """The drift table: a row for each column and statistic, alarms first."""
        import pandas as pd

        report = assembly.records_in(self.folder, self.stores).read("", DriftReport)
        names = ["column", "role", "statistic", "detail", "value", "reference", "low", "high"]
        names += ["p_value", "q_value", "alarm"]
        rows = [{name: getattr(row, name) for name in names} for row in report.statistics]
        return pd.DataFrame(rows, columns=names).sort_values(
            ["alarm", "q_value"], ascending=[False, True], ignore_index=True
        )

    @property
    def report(self) -> Path:
        """The HTML report; opens from disk. One in an object store is copied to this machine."""
        if isinstance(self.folder, Path):
            return self.folder / PAGE
        return assembly.fetch_page(self.folder, self.stores)

    @property
    def printed(self) -> str:
        """The model's printed output while it loaded and predicted; empty if there is none."""
        return assembly.records_in(self.folder, self.stores).find_output("")

    def _repr_html_(self) -> str:
        from html import escape

        from batchdeploy.stages.report import render_text

        if self.found is None:
            return f"<pre>{escape(f'{self.partition} is skipped (on_missing: skip): {self.reason}')}</pre>"
        page = self.folder / PAGE
        link = f'<a href="{escape(page.as_uri())}">report</a>' if isinstance(page, Path) else escape(page)
        return f"<pre>{escape(render_text(self.manifest))}</pre>{link}"
