"""Checks a deployment beyond the types of its values; reports every problem, not only the first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import PurePosixPath

from batchdeploy.core.calendar import calendar_problems, is_after, key_problem
from batchdeploy.core.deployment import RESERVED, Deployment, ModelRef, PartitionSpec
from batchdeploy.core.lookups import is_delta_version, lookup_problems
from batchdeploy.core.output_ref import STORES, control_problems
from batchdeploy.core.path_hints import is_remote
from batchdeploy.core.policy import LimitsSpec, policy_problems
from batchdeploy.core.predicates import predicate_problems
from batchdeploy.core.registry_uris import is_unity_catalog
from batchdeploy.errors import Problem
from batchdeploy.redaction import REFERENCE, names_secret, secrets_in

# Where rows are read from; `file` is a local folder.
READ_FROM = STORES | {"s3a", "azure", "file"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Below it, the drift limit overflows a double.
MIN_RATE = 1e-12
MAX_STEPS = 1_000
TABLE = re.compile(r"[^./`\x00-\x1f]+(\.[^./`\x00-\x1f]+){0,3}")
COLUMN = re.compile(r"[^\x00-\x1f/\\=%]{1,200}")


def deployment_problems(deployment: Deployment) -> tuple[Problem, ...]:
    """All problems beyond the types of its values; empty if there are none."""
    return (
        *_name_problems(deployment),
        *_calendar_problems(deployment.data.partition),
        *_column_problems(deployment),
        *_model_input_problems(deployment.model),
        *_number_problems(deployment),
        *policy_problems(deployment.policy),
        *predicate_problems(deployment.data.where),
        *_lookup_problems(deployment),
    )


def _lookup_problems(deployment: Deployment) -> Iterator[Problem]:
    data, output = deployment.data, deployment.output
    taken = {data.partition.column: "the partition column"} | dict.fromkeys(data.keys, "a key")
    taken |= dict.fromkeys(output.columns, "an output") | dict.fromkeys(RESERVED, "a column of the scores")
    for number, path in enumerate(lookup.path for lookup in data.lookups):
        yield from _read_uri_problems(f"data.lookups.{number}.path", path)
    yield from lookup_problems(data.lookups, data=data.path, output=output.path, taken=taken)


def _name_problems(deployment: Deployment) -> Iterator[Problem]:
    if not NAME.fullmatch(deployment.name):
        yield Problem("name", "use 1 to 100 letters, digits, '.', '_' or '-'", deployment.name)
    model = deployment.model
    if not model.name or any(c in model.name for c in "/:@\0") or len(model.name) > 250:
        yield Problem("model.name", "not a registered model's name", model.name)
    if model.alias is not None and model.version is not None:
        yield Problem("model", "give alias or version, not both")
    if is_unity_catalog(model.registry or "") and model.name.count(".") != 2:
        yield Problem("model.name", "Unity Catalog wants catalog.schema.model", model.name)
    for path, uri in (("model.registry", model.registry), ("model.tracking", model.tracking)):
        if "://" in (uri or "") and any(secrets_in(uri or "")):
            what = "holds credentials; write ${NAME} for an environment variable, or set "
            yield Problem(path, f"{what}MLFLOW_TRACKING_USERNAME")
    remote = deployment.engine.remote
    if remote is not None and not REFERENCE.match(remote) and not re.fullmatch(r"sc://[^/\s]+(/.*)?", remote):
        yield Problem("engine.remote", "is not a Spark Connect address, sc://host:port", remote)
    yield from _path_problems(deployment)
    yield from _storage_problems(deployment)


def _calendar_problems(spec: PartitionSpec) -> Iterator[Problem]:
    found = list(calendar_problems(spec.cron, spec.timezone, spec.format))
    if not any(problem.path == "key_format" for problem in found):
        keys = [*key_problem("start", spec.start, spec.format), *key_problem("end", spec.end, spec.format)]
        found += keys
        if spec.start and spec.end and not keys and is_after(spec.start, spec.end, spec.format):
            found.append(Problem("start", f"is after end, {spec.end}", spec.start))
    for problem in found:
        yield problem._replace(path=f"data.partition.{problem.path}")


def _path_problems(deployment: Deployment) -> Iterator[Problem]:
    data, output, drift = deployment.data.path, deployment.output.path, deployment.drift
    files = {"expectations": deployment.expectations, "drift.reference": drift.reference if drift else None}
    for path, text in {"data.path": data, "output.path": output, **files}.items():
        if text is not None and (not text.strip() or "\0" in text):
            yield Problem(path, "must be a path", repr(text))
        elif text is not None and "://" in text and path not in ("data.path", "output.path"):
            yield Problem(path, "only local paths are supported, not URIs", text)
    if "://" in output and deployment.publish.mode != "pointer":
        yield Problem("output.path", "an object store needs publish: {mode: pointer}", output)
    if "://" in output and output.partition("://")[0] not in STORES:
        yield Problem("output.path", f"is in no store that is known: {', '.join(sorted(STORES))}", output)
    yield from _format_problems(deployment)
    yield from _read_uri_problems("data.path", data)
    yield from _credential_problems("output.path", output)
    yield from control_problems(deployment.output, data=data, mode=deployment.publish.mode)
    source, target = PurePosixPath(data), PurePosixPath(output)
    if not target.name:
        yield Problem("output.path", "must be a folder with a name of its own", output)
    elif source == target or target in source.parents or source in target.parents:
        yield Problem("output.path", "must be outside data.path", output)


def _read_uri_problems(path: str, text: str) -> Iterator[Problem]:
    """The problems of a URI that rows are read from."""
    if text.startswith("hdfs://"):
        yield Problem(path, "HDFS is not read; mount it, or use its S3 gateway", text)
    elif "://" in text and text.partition("://")[0] not in READ_FROM:
        yield Problem(path, f"is in no store that is known: {', '.join(sorted(READ_FROM))}", text)
    yield from _credential_problems(path, text)


def _credential_problems(path: str, text: str) -> Iterator[Problem]:
    if "://" in text and any(secrets_in(text)):
        yield Problem(path, "holds credentials; they belong in the environment")


def _format_problems(deployment: Deployment) -> Iterator[Problem]:
    data, engine = deployment.data, deployment.engine
    if engine.read == "spark" and engine.kind != "spark":
        yield Problem("engine.read", f"is Spark's, and engine.kind is {engine.kind}", engine.read)
    if data.format == "catalog" and engine.read != "spark":
        yield Problem("data.format", "catalog needs engine: {kind: spark, read: spark}", data.format)
    if data.format == "catalog" and not TABLE.fullmatch(data.path):
        yield Problem("data.path", "is not the name of a table, CATALOG.SCHEMA.TABLE", data.path)
    if data.format == "catalog" and data.rev is not None:
        yield Problem("data.rev", "is not known to data.format: catalog; delta and iceberg have versions")
    if data.format == "delta" and not is_delta_version(data.rev or 0):
        yield Problem("data.rev", "is not the version of a Delta table", str(data.rev))
    if data.format == "parquet" and isinstance(data.rev, int):
        yield Problem("data.rev", "is not a git revision; quote it", str(data.rev))
    if data.format != "parquet" and data.fetch is not None:
        yield Problem("data.fetch", f"is of DVC, and data.format is {data.format}")
    if data.format == "parquet" and is_remote(data.path):
        for name, value in (("rev", data.rev), ("fetch", data.fetch)):
            if value is not None:
                yield Problem(f"data.{name}", "is of DVC, and data.path is an object store's", str(value))


def _storage_problems(deployment: Deployment) -> Iterator[Problem]:
    endpoint, storage = deployment.storage.endpoint, deployment.storage
    if storage.connection is not None and storage.profile is not None:
        yield Problem(
            "storage.connection", "gives credentials, and so does storage.profile: name one of them"
        )
    if storage.connection is not None and not storage.connection.strip():
        yield Problem("storage.connection", "must be the id of an Airflow Connection", "''")
    if endpoint is None or REFERENCE.match(endpoint):
        return
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", endpoint):
        yield Problem("storage.endpoint", "is not the URL of a store, https://host:port", endpoint)
    elif any(secrets_in(endpoint)):
        yield Problem("storage.endpoint", "holds credentials; they belong in the environment")


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
    # A dotted name is a field of a struct; where there are any, every output is taken by its name.
    dotted = any("." in str(name if c.select is None else c.select) for name, c in deployment.outputs)
    if any(selected) and not all(selected) and not dotted:
        yield Problem("output.columns", "give 'select' for all outputs or for none")


def _model_input_problems(model: ModelRef) -> Iterator[Problem]:
    for name, value in (model.params or {}).items():
        if isinstance(value, str) and (names_secret(name) or any(secrets_in(value))):
            what = "looks like a secret, and params are recorded in every plan; have the model read it from "
            yield Problem(f"model.params.{name}", what + "an environment variable of the workers")
    if model.input is None:
        return
    if (model.input.columns is None) == (model.input.tensors is None):
        yield Problem("model.input", "give columns (for one tensor) or tensors (for several), and not both")
    given = {"columns": model.input.columns} if model.input.columns is not None else {}
    tensors = {f"tensors.{name}": names for name, names in (model.input.tensors or {}).items()}
    for path, names in (given | tensors).items():
        twice = [name for name, times in Counter(names).items() if times > 1]
        if not names:
            yield Problem(f"model.input.{path}", "names no column")
        elif twice:
            yield Problem(f"model.input.{path}", "names a column twice", ", ".join(twice))


def _number_problems(deployment: Deployment) -> Iterator[Problem]:
    drift = deployment.drift
    if drift and not 0 < drift.false_alarm_rate < 1:
        yield Problem("drift.false_alarm_rate", "must be between 0 and 1", f"{drift.false_alarm_rate:g}")
    elif drift and drift.false_alarm_rate < MIN_RATE:
        got = f"{drift.false_alarm_rate:g}"
        yield Problem("drift.false_alarm_rate", f"must be at least {MIN_RATE:g}", got)
    if drift and drift.min_psi < 0:
        yield Problem("drift.min_psi", "must not be negative", f"{drift.min_psi:g}")
    if not 0 <= deployment.quarantine.max_share <= 1:
        share = deployment.quarantine.max_share
        yield Problem("quarantine.max_share", "must be between 0 and 1", f"{share:g}")
    limits = {f"limits.{field.name}": getattr(deployment.limits, field.name) for field in fields(LimitsSpec)}
    above_zero: dict[str, float | None] = {
        "data.wait_hours": deployment.data.wait_hours,
        "data.poll_seconds": deployment.data.poll_seconds,
        "policy.max_cell_bytes": deployment.policy.max_cell_bytes,
        **limits,
    }
    for path, value in above_zero.items():
        if value is not None and not value > 0:
            yield Problem(path, "must be above 0", f"{value:g}")
    yield from _time_problems(deployment)
    mode = deployment.publish.control_mode
    if not re.fullmatch(r"0?7[0-7]{2}", mode):
        yield Problem(
            "publish.control_mode", 'not three octal digits that begin with 7, such as "0770"', mode
        )
    if deployment.publish.keep_generations < 0:
        yield Problem("publish.keep_generations", "must not be negative")
    if not deployment.publish.reader_seconds >= 0:
        yield Problem("publish.reader_seconds", "must not be negative")
    if not 0 < deployment.publish.lock_seconds <= 3600:
        got = f"{deployment.publish.lock_seconds:g}"
        yield Problem("publish.lock_seconds", "must be between 0 and 3600", got)
    for path, version in (
        ("model.version", deployment.model.version),
        ("backfill.model", deployment.backfill.model),
    ):
        if isinstance(version, int) and version < 1:
            yield Problem(path, "versions start at 1", str(version))


def _time_problems(deployment: Deployment) -> Iterator[Problem]:
    """Durations over ten years, which would overflow clocks or calendars."""
    times = {
        "data.wait_hours": (deployment.data.wait_hours, 24),
        "data.poll_seconds": (deployment.data.poll_seconds, 86_400),
        "limits.minutes": (deployment.limits.minutes, 1_440),
        "publish.reader_seconds": (deployment.publish.reader_seconds, 86_400),
    }
    for path, (value, a_day) in times.items():
        if value is not None and value > 3_650 * a_day:
            yield Problem(path, f"must be at most {3_650 * a_day:,}, ten years", f"{value:g}")
    if abs(deployment.data.partition.run_offset) > MAX_STEPS:
        got = str(deployment.data.partition.run_offset)
        yield Problem("data.partition.run_offset", f"must be between -{MAX_STEPS:,} and {MAX_STEPS:,}", got)
