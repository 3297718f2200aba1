"""Paths of a published table and of its control folder. Names only, no I/O."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from batchdeploy.core.locations import Location, StoreUri, is_uri
from batchdeploy.core.output_ref import CONTROL, OutputRef

# The pattern of the folders in a published table.
PARTITIONS = "*=*"
STAGING, MODELS, INTENTS, PAGES = "staging", "models", "intents", "pages"
# The folders of an attempt in staging, one file for each split; the second is also one beside its records.
STAGED, QUARANTINE = "scored", "quarantine"
# Beside an attempt in staging: the file that its process keeps locked, and the mark that another may go on.
ALIVE, HANDED = ".alive", ".handed"
PLAN, MANIFEST, PAGE = "plan.json", "manifest.json", "report.html"
FIRST_USES = "first-used"
RUNS, ATTEMPTS, COMPARISONS, RETIRED = "runs", "attempts", "comparisons", "retired"
# In a table that is published by pointer: the document that names the visible files, and where all files are.
POINTER, POINTER_DATA, POINTER_MANIFESTS = "current.json", "data", "manifests"
# One line per decision about a comparison, with its author.
PROMOTIONS = "promotions.jsonl"
# One line per publish and rollback.
AUDIT = "audit.jsonl"
# Captured model output: a folder in an attempt with one file per split, and the run's merged file.
PRINTED, OUTPUT = "printed", "output.txt"


# Says which deployment's control folder this is.
CONTROL_RECORD = "control.json"


def run_key(folder: str, run_id: str) -> str:
    """The key of a run's folder in the control folder."""
    return f"{RUNS}/{folder}/{run_id}"


def attempt_key(folder: str, run_id: str, name: str) -> str:
    """The key of one attempt's folder in the control folder."""
    return f"{run_key(folder, run_id)}/{ATTEMPTS}/{name}"


_RUN_KEY = re.compile(rf"(?P<control>.*)/(?P<key>{RUNS}/[^/]+/[^/]+(?:/{ATTEMPTS}/[^/]+)?)/?")


def split_run(location: str) -> tuple[str, str] | None:
    """The control folder and the key of a run's or an attempt's folder; None if it is elsewhere."""
    match = _RUN_KEY.fullmatch(location)
    return None if match is None else (match["control"], match["key"])


# What may be shown in a page: nothing else in the control folder may be asked for by a path.
_PAGE_KEY = re.compile(
    rf"{RUNS}/[^/=]+=[^/]+/[0-9a-f]{{16}}(?:/{ATTEMPTS}/[0-9a-z]{{1,64}})?/{re.escape(PAGE)}"
)
_COMPARISON_KEY = re.compile(rf"{COMPARISONS}/[^/=]+=[^/]+/[0-9-]{{1,80}}\.json")


def is_page_key(key: str) -> bool:
    """Whether a key is that of a run's or an attempt's report."""
    return _PAGE_KEY.fullmatch(key) is not None


def is_comparison_key(key: str) -> bool:
    """Whether a key is that of a comparison."""
    return _COMPARISON_KEY.fullmatch(key) is not None


def drift_key(folder: str, run_id: str) -> str:
    """The key of a run's rows of the drift table in the control folder."""
    return f"drift/{folder}/{run_id}.parquet"


def retired_key(folder: str, run_id: str) -> str:
    """The key of an earlier generation in the control folder."""
    return f"{RETIRED}/{folder}/{run_id}"


def staged_key(attempt: str) -> str:
    """The key of the folder with an attempt's staged scores in the control folder."""
    return f"{STAGING}/{attempt}/{STAGED}"


def data_folder(folder: str, attempt: str) -> str:
    """The key of the folder with an attempt's scores in a table that is published by pointer."""
    return f"{POINTER_DATA}/{folder}/run={attempt}"


def data_key(folder: str, attempt: str, file: str) -> str:
    """The key of a file of scores in a table that is published by pointer."""
    return f"{data_folder(folder, attempt)}/{file}"


def manifest_key(folder: str, attempt: str) -> str:
    """The key of a manifest in a table that is published by pointer."""
    return f"{POINTER_MANIFESTS}/{folder}/{attempt}.json"


def comparison_key(folder: str, name: str) -> str:
    """The key of a comparison in the control folder."""
    return f"{COMPARISONS}/{folder}/{name}"


def quarantine_key(folder: str, run_id: str) -> str:
    """The key of the folder with a run's quarantined rows in the control folder."""
    return f"{QUARANTINE}/{folder}/{run_id}"


def attempt_drift_key(folder: str, run_id: str, name: str) -> str:
    """The key of an attempt's rows of the drift table."""
    return f"{attempt_key(folder, run_id, name)}/drift.parquet"


def attempt_quarantine_key(folder: str, run_id: str, name: str) -> str:
    """The key of the folder with the rows that an attempt quarantined, kept beside its records."""
    return f"{attempt_key(folder, run_id, name)}/{QUARANTINE}"


def staged_quarantine_key(attempt: str) -> str:
    """The key of the folder with an attempt's quarantined rows, while they are in staging."""
    return f"{STAGING}/{attempt}/{QUARANTINE}"


def printed_key(attempt: str) -> str:
    """The key of the folder with what the model printed in an attempt, one file for each split."""
    return f"{STAGING}/{attempt}/{PRINTED}"


def claim_key(folder: str) -> str:
    """The key of the claim on a partition by the run that works on it."""
    return f"claims/{folder}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one table, as absolute paths.

    Attributes:
        table: the public tree: `column=value` folders with Parquet files, nothing else, ever.
        control_uri: the control folder's URI where it is in an object store. The local control folder then
            holds only what this machine can make again, such as fetched models.
        control_folder: the local control folder where it is not the table's sibling.
    """

    table: Path
    control_uri: str | None = None
    control_folder: Path | None = None

    @classmethod
    def of(cls, root: Path, ref: OutputRef) -> Layout:
        """The layout of a deployment's output; a relative path starts at the project's root.

        The control folder of a table in an object store is beside the table, unless ``output.control`` names
        another place. What needs a filesystem is then in a folder of the project's ``runs/``, named after the
        table.
        """
        table, control = root / ref.path, ref.control
        if is_uri(ref.path):
            table = root / "runs" / "-".join(ref.path.partition("://")[2].strip("/").split("/"))
            control = control or f"{ref.path.rstrip('/')}{CONTROL}"
        if control is None:
            return cls(table)
        if is_uri(control):
            return cls(table, control.rstrip("/"))
        return cls(table, control_folder=Path(os.path.normpath(root / control)))

    @property
    def control_target(self) -> str:
        """The control folder's URI, or the path of the local one; keys are joined to it by ``/``."""
        return self.control_uri or str(self.control)

    @property
    def control(self) -> Path:
        """The local control folder.

        By default it is the table's sibling on the same filesystem, so that the two can exchange folders.
        """
        return self.control_folder or self.table.with_name(f"{self.table.name}{CONTROL}")

    @property
    def control_location(self) -> Location:
        """The control folder: its path, or its URI."""
        return self.control if self.control_uri is None else StoreUri(self.control_uri)

    @property
    def pages(self) -> Path:
        """Copies of pages that are in a store."""
        return self.control / PAGES

    def page_copy(self, key: str) -> Path:
        """The copy on this machine of a run's page that is in a store."""
        return self.pages / key.rpartition("/")[2] / PAGE

    def place(self, key: str) -> Location:
        """The path or the URI of a key in the control folder."""
        return self.control_location / key

    @property
    def pointer(self) -> Path:
        """The document that names the visible files, where the table is published by pointer."""
        return self.table / POINTER

    @property
    def staging(self) -> Path:
        return self.control / STAGING

    def staged(self, attempt: str) -> Path:
        """The scores that an attempt has staged."""
        return self.control / staged_key(attempt)

    def staged_quarantine(self, attempt: str) -> Path:
        """The rows that an attempt quarantined, while they are in staging."""
        return self.staging / attempt / QUARANTINE

    def printed(self, attempt: str) -> Path:
        """What the model printed in an attempt, one file for each split."""
        return self.staging / attempt / PRINTED

    def liveness(self, attempt: str) -> Path:
        """The file that the process of an attempt keeps locked."""
        return self.staging / f"{attempt}{ALIVE}"

    def handed_over(self, attempt: str) -> Path:
        """Marks an attempt that another process may go on with."""
        return self.staging / f"{attempt}{HANDED}"

    @property
    def intents(self) -> Path:
        return self.control / INTENTS

    def intent(self, attempt: str) -> Path:
        """The write-ahead record of an attempt's publish."""
        return self.intents / f"{attempt}.json"

    @property
    def trash(self) -> Path:
        return self.control / "trash"

    @property
    def models(self) -> Path:
        """Fetched copies of models, one folder per digest, on the filesystem that workers use anyway."""
        return self.control / MODELS

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
    def lock_holder(self) -> Path:
        """Names the process that holds the lock."""
        return self.control / "lock.holder.json"

    @property
    def record(self) -> Path:
        """The table's record: its deployment and columns."""
        return self.control / "table.json"

    @property
    def audit(self) -> Path:
        return self.control / AUDIT

    def partition_dir(self, folder: str) -> Path:
        return self.table / folder

    def run(self, folder: str, run_id: str) -> Path:
        return self.control / run_key(folder, run_id)

    def attempt(self, folder: str, run_id: str, name: str) -> Path:
        """The evidence of one attempt at a run; the run's folder shows one attempt's."""
        return self.control / attempt_key(folder, run_id, name)

    @property
    def retirement(self) -> Path:
        """Earlier generations, by partition and run."""
        return self.control / RETIRED

    def retired(self, folder: str, run_id: str) -> Path:
        return self.control / retired_key(folder, run_id)

    def quarantine(self, folder: str, run_id: str) -> Path:
        return self.control / quarantine_key(folder, run_id)

    def drift(self, folder: str, run_id: str) -> Path:
        return self.control / drift_key(folder, run_id)
