"""What a person writes: one YAML file, as records. Reading it is `batchdeploy.documents`' work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batchdeploy.core import FORBID_UNKNOWN
from batchdeploy.core.calendar import KEY_FORMATS, SCHEDULES, Grain
from batchdeploy.core.policy import LimitsSpec, PolicySpec
from batchdeploy.core.predicates import Predicate

OutputType = Literal["double", "float", "long", "integer", "boolean", "string"]
CastType = Literal["integer", "long", "float", "double"]
OnMissing = Literal["fail", "skip", "wait"]

RESERVED = ("_model_version", "_run_id", "_scored_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Which registered model scores: by alias (moves) or by version (does not).

    Attributes:
        name: the registered model's name in MLflow.
        alias: followed at each run, pinned in its plan. ``champion`` where neither is given.
        version: an exact version instead of an alias.
        registry: the MLflow tracking URI; null takes ``MLFLOW_TRACKING_URI``, else the project's
            ``mlflow.db``.
        code: ``allow`` loads whatever MLflow can load, which runs code of whoever registered the model where
            it is a pickle or a Python model. ``refuse`` takes only formats that hold data: scikit-learn by
            skops, XGBoost and LightGBM boosters, CatBoost, ONNX.
        trusted_types: types in skops files that are harmless besides those batchdeploy knows; only ``code:
            refuse`` asks.
        runtime: ``native`` scores with the model as MLflow loads it. ``compiled`` turns the tree ensemble at
            its end (scikit-learn, LightGBM, XGBoost) into machine code, once for a model and a platform, and
            takes it where it answers rows of the partition as the model does, to 1e-9. ``onnx`` has ONNX
            Runtime answer: an ONNX model, or a scikit-learn model whose last step is converted in 64 bits,
            taken on the same condition.
        fallback: where a model cannot be compiled or converted, or then answers otherwise: ``refuse``, or
            ``native``, which says so and goes on with the model as it is.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    alias: str | None = None
    version: int | None = None
    registry: str | None = None
    code: Literal["allow", "refuse"] = "allow"
    trusted_types: tuple[str, ...] = ()
    runtime: Literal["native", "compiled", "onnx"] = "native"
    fallback: Literal["refuse", "native"] = "refuse"

    @property
    def label(self) -> str:
        """``version 3`` or ``alias champion``, for people."""
        return f"version {self.version}" if self.version is not None else f"alias {self.alias or 'champion'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSpec:
    """The partition column and when a new value of it is due.

    Attributes:
        column: the folder key of the hive-partitioned data, ``date`` in ``date=2013-02-01``.
        grain: ``hourly``, ``daily``, ``weekly`` or ``monthly``; sets what ``schedule`` and ``key_format``
            are where they are not given.
        schedule: a five-field cron expression, read in ``timezone``. One run is due at each of its times.
        timezone: an IANA name; with daylight saving, except for hourly partitions.
        key_format: ``strftime`` format that makes the partition's value from its date.
        run_offset: which partition a scheduled run is for, in steps of the schedule: 0 for the one that
            its own time names, -1 for the one before (this morning's run scores yesterday's rows).
        start, end: first and last partition to schedule, as values of the column; both included.
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
        """The folder name of a partition, ``date=2013-02-01``."""
        return f"{self.prefix}{value}"

    @property
    def prefix(self) -> str:
        """How the folder name of every partition begins, ``date=``."""
        return f"{self.column}="


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRef:
    """Where the rows are.

    Attributes:
        path: a folder of hive-partitioned Parquet, DVC-tracked or plain.
        keys: the columns that name a row; never given to the model.
        where: which rows are meant; the others are counted, and neither scored nor validated.
        casts: features to give to the model as the type that its signature wants (``integer``, ``long``,
            ``float``, ``double``), where the files hold another: decimals, or doubles for a model of 32-bit
            floats. Rounding to a float's digits is meant; a value that is lost otherwise is quarantined.
        rev: a DVC (git) revision; null reads the workspace.
        on_missing: what a run or a backfill does where a partition has no rows yet: ``fail``, ``skip``, or
            ``wait``, which holds no worker in Airflow.
        wait_hours: how long it waits before it fails.
        poll_seconds: how often it looks.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    partition: PartitionSpec
    keys: tuple[str, ...]
    where: tuple[Predicate, ...] = ()
    casts: dict[str, CastType] | None = None
    rev: str | None = None
    on_missing: OnMissing = "fail"
    wait_hours: float = 24
    poll_seconds: float = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputColumn:
    """One declared output.

    Attributes:
        type: what is written; a value that does not fit it is never bent into it.
        select: which column of the model's answer, by position (an array) or name (a frame);
            null takes them in the declared order.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    type: OutputType
    select: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRef:
    """Where the scores go and what a row of them holds: keys, ``keep`` and ``columns``."""

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    columns: dict[str, OutputType | OutputColumn]
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSpec:
    """What drift is measured against, and how often a quiet day may raise an alarm.

    Attributes:
        reference: a reference profile (JSON), made by ``batchdeploy.build_reference``.
        false_alarm_rate: Benjamini-Hochberg level over the columns of one partition.
        min_psi: shifts smaller than this population stability index never alarm, however certain.
        on_alarm: ``warn`` publishes and says so, ``block`` refuses to publish.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    reference: str
    false_alarm_rate: float = 0.01
    min_psi: float = 0.02
    on_alarm: Literal["warn", "block"] = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What does the work: ``spark`` (one machine or a cluster) or ``local`` (pyarrow, no JVM).

    Attributes:
        master: Spark's master URL.
        remote: a Spark Connect server instead, ``sc://host:15002``; this machine then needs no Java.
        conf: further Spark settings, passed through; true and false may be written as such.
        versions: where a worker's Python or a package has another version (in its first two numbers) than the
            model was made with: ``refuse``, or ``warn``.
        gpu: ``rapids`` sets Spark up for NVIDIA's RAPIDS Accelerator, or says what is missing for it;
            ``auto`` goes on without it; ``none``. Its jar comes with ``conf: {spark.jars: ...}``.

    Workers on other machines are sent this batchdeploy and the model by Spark itself. They need Python with
    numpy, pandas, pyarrow, threadpoolctl and what the model needs, and have to see the project's filesystem:
    they read their piece of the data there, and write the scores to staging.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    kind: Literal["spark", "local"] = "spark"
    master: str = "local[*]"
    remote: str | None = None
    conf: dict[str, str | bool | int | float] | None = None
    versions: Literal["refuse", "warn"] = "refuse"
    gpu: Literal["none", "rapids", "auto"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineSpec:
    """The share of a partition's rows that may be quarantined before the run is refused, 0 to 1."""

    __pydantic_config__ = FORBID_UNKNOWN
    max_share: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSpec:
    """How scores become visible.

    Attributes:
        mode: ``swap`` exchanges the partition's folder in one step (local filesystems that can);
            ``pointer`` writes new files beside the old and replaces one ``current.json`` that names them
            (object stores, network filesystems).
        durability: ``power`` flushes to the disk, so that a published partition survives a power cut;
            ``process`` survives the death of any process, and is quicker on slow disks.
        keep_generations: how many earlier generations of a partition stay for ``rollback``.
        reader_seconds: how long files that are no longer visible stay on disk, whatever else says that
            they may go: a reader that had opened a folder before the swap would find it empty, in silence.
        lock_seconds: how long to wait for another publisher of the same table.
        control_mode: who may enter the control folder (records, quarantined rows, staging), and who may read
            the files that stay there, in octal:
            ``"0700"`` for its owner only; ``"0770"`` or ``"0755"`` where workers or readers are other users.
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
    """Which model a backfill takes: an alias (``champion``) or a version; null takes the deployed one."""

    __pydantic_config__ = FORBID_UNKNOWN
    model: str | int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowSpec:
    """How Airflow runs it.

    Attributes:
        python: an interpreter that has the scoring libraries (``.venv/bin/python``), where Airflow's own
            environment has only Airflow and batchdeploy; null runs the tasks in Airflow's own process.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    python: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment: which model scores which data, under which expectations, to which output.

    Attributes:
        root: the folder that relative paths start from, itself relative to this file; null takes
            ``BATCHDEPLOY_ROOT``, else looks for it (``batchdeploy.host.project_root``).
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
    airflow: AirflowSpec = AirflowSpec()

    @property
    def outputs(self) -> tuple[tuple[str, OutputColumn], ...]:
        """The declared outputs in their order, each with its type and source."""
        return tuple(
            (name, column if isinstance(column, OutputColumn) else OutputColumn(type=column))
            for name, column in self.output.columns.items()
        )
