"""The deployment file as records. `batchdeploy.documents` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.calendar import KEY_FORMATS, SCHEDULES, Grain
from batchdeploy.core.casts import CastType
from batchdeploy.core.engine_spec import EngineSpec
from batchdeploy.core.lookups import LookupSpec
from batchdeploy.core.model_ref import ModelRef
from batchdeploy.core.output_ref import OutputColumn, OutputRef, OutputType
from batchdeploy.core.partition_names import escape, parse_folder
from batchdeploy.core.policy import LimitsSpec, PolicySpec
from batchdeploy.core.predicates import Predicate
from batchdeploy.core.storage_spec import StorageSpec

__all__ = [
    "RESERVED",
    "AirflowSpec",
    "BackfillSpec",
    "CastType",
    "DataRef",
    "Deployment",
    "DriftSpec",
    "EngineSpec",
    "LookupSpec",
    "ModelRef",
    "OnMissing",
    "OutputColumn",
    "OutputRef",
    "OutputType",
    "PartitionSpec",
    "PublishSpec",
    "QuarantineSpec",
]

OnMissing = Literal["fail", "skip", "wait"]

RESERVED = ("_model_version", "_run_id", "_scored_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSpec:
    """The partition column and when a new value of it is due.

    Attributes:
        column: the folder key of the hive-partitioned data, ``date`` in ``date=2013-02-01``; at any level of
            the path.
        grain: ``hourly``, ``daily``, ``weekly`` or ``monthly``; sets the defaults of ``schedule`` and
            ``key_format``.
        schedule: a five-field cron expression, read in ``timezone``. One run is due at each of its times.
        timezone: an IANA name; hourly partitions need a zone without daylight saving.
        key_format: ``strftime`` format that makes the partition's value from its date.
        run_offset: which partition a scheduled run scores, in steps of the schedule: 0 for the partition of
            its own time, -1 for the one before (this morning's run scores yesterday's rows).
        start, end: first and last partition to schedule, as values of the column, both inclusive.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    column: str
    grain: Grain = "daily"
    schedule: str | None = None
    timezone: str = "UTC"
    key_format: str | None = None
    run_offset: int = 0
    start: str | None = None
    end: str | None = None

    @property
    def cron(self) -> str:
        """The schedule, or that of the grain."""
        return self.schedule or SCHEDULES[self.grain]

    @property
    def format(self) -> str:
        """The key format, or that of the grain."""
        return self.key_format or KEY_FORMATS[self.grain]

    def folder(self, value: str) -> str:
        """The folder name of a partition, ``date=2013-02-01``, escaped as Spark does."""
        return f"{self.column}={escape(value)}"

    def value(self, folder: str) -> str | None:
        """The unescaped value of a partition's folder name; None if it is not one of this column's."""
        parsed = parse_folder(folder)
        return parsed.value if parsed is not None and parsed.column == self.column else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRef:
    """Where the rows are.

    Attributes:
        path: a folder of hive-partitioned Parquet, DVC-tracked or plain, or its URI: ``s3://``, ``gs://``,
            ``az://``, ``abfss://``, ``file://``. With another ``format``, a table: its folder or URI, or
            ``CATALOG.NAMESPACE.TABLE`` of a catalog that pyiceberg, or with ``catalog`` Spark, knows.
        format: ``parquet``, ``delta`` or ``iceberg``: a table's files are read at one version of it.
            ``catalog``: a table or view that Spark's catalog knows; needs ``engine.read: spark``.
        keys: the columns that identify a row; never given to the model.
        where: conditions on rows; rows that do not match are counted, but neither validated nor scored.
        casts: columns to cast on reading, before anything else sees them: column to ``boolean``,
            ``integer``, ``long``, ``float``, ``double``, ``string``, ``date`` or ``timestamp``. Rounding to
            the digits of a ``float`` or ``double`` is counted; ``policy.cast`` decides about a row whose
            value would change otherwise.
        lookups: columns that rows get from other tables by key, before ``casts`` and ``where``.
        rev: a git revision, read through DVC; null reads the workspace. Of a Delta table the version, of an
            Iceberg table the snapshot id, branch or tag; null reads the newest.
        fetch: whether what DVC's cache lacks of a partition is fetched from its remote. null: with ``rev``
            only; ``true``: also to read what DVC records and the workspace lacks; ``false``: never.
        on_missing: what a run or a backfill does if a partition has no rows yet: ``fail``, ``skip``, or
            ``wait``, which occupies no worker in Airflow.
        wait_hours: how long it waits before it fails.
        poll_seconds: how often it checks.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    format: Literal["parquet", "delta", "iceberg", "catalog"] = "parquet"
    partition: PartitionSpec
    keys: tuple[str, ...]
    where: tuple[Predicate, ...] = ()
    casts: dict[str, CastType] | None = None
    lookups: tuple[LookupSpec, ...] = ()
    rev: str | int | None = None
    fetch: bool | None = None
    on_missing: OnMissing = "fail"
    wait_hours: float = 24
    poll_seconds: float = 60

    @property
    def dvc_rev(self) -> str | None:
        """The git revision whose rows DVC has; None for the workspace and for tables."""
        return None if self.rev is None or self.format != "parquet" else str(self.rev)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSpec:
    """What drift is measured against, and how often a partition without drift may raise an alarm.

    Attributes:
        reference: a reference profile (JSON), made by ``batchdeploy.build_reference``.
        false_alarm_rate: Benjamini-Hochberg level over all questions of all columns of one partition.
        min_psi: a bin or category never alarms in a column that moved by less than this population stability
            index, however significant.
        on_alarm: ``warn`` publishes with a warning, ``block`` refuses to publish.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    reference: str
    false_alarm_rate: float = 0.01
    min_psi: float = 0.02
    on_alarm: Literal["warn", "block"] = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineSpec:
    """The share of a partition's rows that may be quarantined before the run is refused, 0 to 1."""

    __pydantic_config__ = FORBID_UNKNOWN
    max_share: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSpec:
    """How scores become visible.

    Attributes:
        mode: ``swap`` exchanges the partition's folder in one step (Linux filesystems that support it);
            ``pointer`` writes new files beside the old and replaces one ``current.json`` that names them
            (object stores, network filesystems).
        durability: ``power`` flushes to the disk, so that a published partition survives a power cut;
            ``process`` survives the death of any process, and is faster on slow disks.
        keep_generations: how many earlier generations of a partition to keep for ``rollback``.
        reader_seconds: the minimum time for which replaced files stay on disk, so that a reader which opened
            the folder before the swap does not find it empty.
        lock_seconds: how long to wait for another publisher of the same table.
        control_mode: permissions of the control folder (records, quarantined rows, staging) and of its files,
            in octal: ``"0700"`` for its owner only; ``"0770"`` or ``"0755"`` if workers or readers are other
            users.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    mode: Literal["swap", "pointer"] = "swap"
    durability: Literal["power", "process"] = "power"
    keep_generations: int = 3
    reader_seconds: float = 600.0
    lock_seconds: float = 60.0
    control_mode: str = "0700"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillSpec:
    """The model of a backfill: an alias (``champion``) or a version; null uses the deployed one."""

    __pydantic_config__ = FORBID_UNKNOWN
    model: str | int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowSpec:
    """How Airflow runs the deployment.

    Attributes:
        python: an interpreter with the scoring libraries (``.venv/bin/python``), for an Airflow environment
            that has only Airflow and batchdeploy; null runs the tasks in Airflow's own process.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    python: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment: which model scores which data, under which expectations, to which output.

    Attributes:
        root: the folder that relative paths start from, itself relative to this file; null uses
            ``BATCHDEPLOY_ROOT``, else searches for it (``batchdeploy.host.project_root``).
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    model: ModelRef
    data: DataRef
    output: OutputRef
    owner: str = "nobody"
    root: str | None = None
    expectations: str | None = None
    drift: DriftSpec | None = None
    engine: EngineSpec = EngineSpec()
    policy: PolicySpec = PolicySpec()
    quarantine: QuarantineSpec = QuarantineSpec()
    limits: LimitsSpec = LimitsSpec()
    publish: PublishSpec = PublishSpec()
    backfill: BackfillSpec = BackfillSpec()
    storage: StorageSpec = StorageSpec()
    airflow: AirflowSpec = AirflowSpec()

    @property
    def outputs(self) -> tuple[tuple[str, OutputColumn], ...]:
        """The declared outputs in order, each with its type and source column."""
        return tuple(
            (name, column if isinstance(column, OutputColumn) else OutputColumn(type=column))
            for name, column in self.output.columns.items()
        )
