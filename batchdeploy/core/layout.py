"""Paths of a published table and of its control folder. Names only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchdeploy.core.deployment import OutputRef

CONTROL = ".batchdeploy"
PLAN, MANIFEST, PAGE = "plan.json", "manifest.json", "report.html"
FIRST_USES = "first-used"
RUNS, ATTEMPTS = "runs", "attempts"
# One line per decision about a comparison, with its author.
PROMOTIONS = "promotions.jsonl"
# Captured model output: a folder in an attempt with one file per split, and the run's merged file.
PRINTED, OUTPUT = "printed", "output.txt"


def run_key(folder: str, run_id: str) -> str:
    """The key of a run's folder in the control folder."""
    return f"{RUNS}/{folder}/{run_id}"


def attempt_key(folder: str, run_id: str, name: str) -> str:
    """The key of one attempt's folder in the control folder."""
    return f"{run_key(folder, run_id)}/{ATTEMPTS}/{name}"


def comparison_key(folder: str, name: str) -> str:
    """The key of a comparison in the control folder."""
    return f"comparisons/{folder}/{name}"


def quarantine_key(folder: str, run_id: str) -> str:
    """The key of the folder with a run's quarantined rows in the control folder."""
    return f"quarantine/{folder}/{run_id}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one table, as absolute paths.

    Attributes:
        table: the public tree: `column=value` folders with Parquet files, nothing else, ever.
    """

    table: Path

    @classmethod
    def of(cls, root: Path, ref: OutputRef) -> Layout:
        """The layout of a deployment's output; a relative path starts at the project's root.

        For a table in an object store, what needs a filesystem (staging, records) is stored in a folder of
        the project's ``runs/``, named after the table.
        """
        if "://" in ref.path:
            return cls(root / "runs" / "-".join(ref.path.partition("://")[2].strip("/").split("/")))
        return cls(root / ref.path)

    @property
    def control(self) -> Path:
        """The table's sibling on the same filesystem, so that the two can exchange folders."""
        return self.table.with_name(f"{self.table.name}{CONTROL}")

    @property
    def staging(self) -> Path:
        return self.control / "staging"

    @property
    def intents(self) -> Path:
        return self.control / "intents"

    @property
    def trash(self) -> Path:
        return self.control / "trash"

    def claim(self, folder: str) -> Path:
        """The claim on a partition by the run that works on it."""
        return self.control / "claims" / folder

    @property
    def models(self) -> Path:
        """Fetched copies of models, one folder per digest, on the filesystem that workers use anyway."""
        return self.control / "models"

    @property
    def first_uses(self) -> Path:
        """Records of each model version's first use; kept as long as the table."""
        return self.models / FIRST_USES

    @property
    def suites(self) -> Path:
        """Markers of suites that were evaluated without problems."""
        return self.control / "suites"

    @property
    def lock(self) -> Path:
        return self.control / "lock"

    @property
    def record(self) -> Path:
        """The table's record: its deployment and columns."""
        return self.control / "table.json"

    @property
    def audit(self) -> Path:
        return self.control / "audit.jsonl"

    def partition_dir(self, folder: str) -> Path:
        return self.table / folder

    @property
    def runs(self) -> Path:
        return self.control / RUNS

    def run(self, folder: str, run_id: str) -> Path:
        return self.control / run_key(folder, run_id)

    def manifest(self, folder: str, run_id: str) -> Path:
        """The manifest, written last: it exists only for published runs."""
        return self.run(folder, run_id) / MANIFEST

    def attempt(self, folder: str, run_id: str, name: str) -> Path:
        """The evidence of one attempt at a run; the run's folder shows one attempt's."""
        return self.control / attempt_key(folder, run_id, name)

    @property
    def retirement(self) -> Path:
        """Earlier generations, by partition and run."""
        return self.control / "retired"

    def retired(self, folder: str, run_id: str) -> Path:
        return self.retirement / folder / run_id

    def quarantine(self, folder: str, run_id: str) -> Path:
        return self.control / quarantine_key(folder, run_id)

    def drift(self, folder: str, run_id: str) -> Path:
        return self.control / "drift" / folder / f"{run_id}.parquet"
