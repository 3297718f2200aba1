"""What a person writes: one YAML file, as records. Reading it is `batchdeploy.documents`' work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from batchdeploy.errors import Problem

OutputType = Literal["double", "float", "long", "integer", "boolean", "string"]

FORBID_UNKNOWN = {"extra": "forbid"}
RESERVED = ("_model_version", "_run_id", "_scored_at")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
COLUMN = re.compile(r"[^\x00-\x1f/\\=%]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Which registered model scores: by alias (moves) or by version (does not).

    Attributes:
        name: the registered model's name in MLflow.
        alias: followed at each run, pinned in its plan. ``champion`` where neither is given.
        version: an exact version instead of an alias.
        registry: the MLflow tracking URI; null takes ``MLFLOW_TRACKING_URI``, else the project's
            ``mlflow.db``.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    alias: str | None = None
    version: int | None = None
    registry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSpec:
    """The partition column and when a new value of it is due.

    Attributes:
        column: the folder key of the hive-partitioned data, ``date`` in ``date=2013-02-01``.
        schedule: a five-field cron expression, read in ``timezone``.
        key_format: ``strftime`` format that makes the partition's value from its date.
        start, end: first and last partition to schedule, as values of the column; both included.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    column: str
    schedule: str = "0 6 * * *"
    timezone: str = "UTC"
    key_format: str = "%Y-%m-%d"
    start: str | None = None
    end: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRef:
    """Where the rows are.

    Attributes:
        path: a folder of hive-partitioned Parquet, DVC-tracked or plain.
        keys: the columns that name a row; never given to the model.
        rev: a DVC (git) revision; null reads the workspace.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    path: str
    partition: PartitionSpec
    keys: tuple[str, ...]
    rev: str | None = None


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
        conf: further Spark settings, passed through.
    """

    __pydantic_config__ = FORBID_UNKNOWN
    kind: Literal["spark", "local"] = "spark"
    master: str = "local[*]"
    conf: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineSpec:
    """The share of a partition's rows that may be set aside before the run is refused, 0 to 1."""

    __pydantic_config__ = FORBID_UNKNOWN
    max_share: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment: which model scores which data, under which expectations, to which output."""

    __pydantic_config__ = FORBID_UNKNOWN
    name: str
    model: ModelRef
    data: DataRef
    output: OutputRef
    owner: str = "nobody"
    expectations: str | None = None
    drift: DriftSpec | None = None
    engine: EngineSpec = EngineSpec()
    quarantine: QuarantineSpec = QuarantineSpec()

    @property
    def outputs(self) -> tuple[tuple[str, OutputColumn], ...]:
        """The declared outputs in their order, each with its type and source."""
        return tuple(
            (name, column if isinstance(column, OutputColumn) else OutputColumn(type=column))
            for name, column in self.output.columns.items()
        )

    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong with it beyond the types of its values; empty where it is sound."""
        return (*_name_problems(self), *_column_problems(self), *_number_problems(self))


def _name_problems(deployment: Deployment) -> Iterator[Problem]:
    if not NAME.fullmatch(deployment.name):
        yield Problem("name", "use 1 to 100 letters, digits, '.', '_' or '-'", deployment.name)
    model = deployment.model
    if not model.name or any(c in model.name for c in "/:@\0") or len(model.name) > 250:
        yield Problem("model.name", "not a registered model's name", model.name)
    if model.alias is not None and model.version is not None:
        yield Problem("model", "give alias or version, not both")
    if "://" in (model.registry or "") and "@" in (model.registry or ""):
        yield Problem("model.registry", "holds credentials; MLflow takes them from MLFLOW_TRACKING_USERNAME")
    yield from _path_problems(deployment)


def _path_problems(deployment: Deployment) -> Iterator[Problem]:
    data, output, drift = deployment.data.path, deployment.output.path, deployment.drift
    files = {"expectations": deployment.expectations, "drift.reference": drift.reference if drift else None}
    for path, text in {"data.path": data, "output.path": output, **files}.items():
        if text is not None and (not text.strip() or "\0" in text):
            yield Problem(path, "must be a path", repr(text))
        elif text is not None and "://" in text and path != "data.path":
            yield Problem(path, "only local paths are taken so far, not URIs", text)
    source, target = PurePosixPath(data), PurePosixPath(output)
    if not target.name:
        yield Problem("output.path", "must be a folder with a name of its own", output)
    elif source == target or target in source.parents or source in target.parents:
        yield Problem("output.path", "must lie apart from data.path", output)


def _column_problems(deployment: Deployment) -> Iterator[Problem]:
    data, output = deployment.data, deployment.output
    if not COLUMN.fullmatch(data.partition.column):
        yield Problem("data.partition.column", "not a column name", data.partition.column)
    if not data.keys:
        yield Problem("data.keys", "name at least one key column")
    if not output.columns:
        yield Problem("output.columns", "declare at least one output")
    seen: set[str] = {data.partition.column.lower()}
    places = [("data.keys", n) for n in data.keys] + [("output.keep", n) for n in output.keep]
    for path, name in places + [("output.columns", n) for n in output.columns]:
        if name in RESERVED or not COLUMN.fullmatch(name):
            yield Problem(path, "reserved or not a column name", name)
        elif name.lower() in seen:
            yield Problem(path, "this column is in the output already", name)
        seen.add(name.lower())
    selected = [column.select is not None for _, column in deployment.outputs]
    if any(selected) and not all(selected):
        yield Problem("output.columns", "give 'select' for all outputs or for none")


def _number_problems(deployment: Deployment) -> Iterator[Problem]:
    drift = deployment.drift
    if drift and not 0 < drift.false_alarm_rate < 1:
        yield Problem("drift.false_alarm_rate", "must lie between 0 and 1", f"{drift.false_alarm_rate:g}")
    if drift and drift.min_psi < 0:
        yield Problem("drift.min_psi", "must not be negative", f"{drift.min_psi:g}")
    if not 0 <= deployment.quarantine.max_share <= 1:
        share = deployment.quarantine.max_share
        yield Problem("quarantine.max_share", "must lie between 0 and 1", f"{share:g}")
    if deployment.model.version is not None and deployment.model.version < 1:
        yield Problem("model.version", "versions start at 1", str(deployment.model.version))
