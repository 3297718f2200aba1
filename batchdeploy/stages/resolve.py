"""Resolves a deployment and a partition to a plan: pins every ref, and checks everything but the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from batchdeploy.core.contract import casts_hint, contract, reference_problems
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.partitions import partition_key
from batchdeploy.core.path_columns import type_path_columns
from batchdeploy.core.pins import check_partition, run_id
from batchdeploy.core.records import DataPin, Manifest, ModelPin, Plan, TextPin
from batchdeploy.core.secrets import without_secrets
from batchdeploy.core.tables import check_owner, check_table, describe_table
from batchdeploy.documents import canonical, to_plain
from batchdeploy.errors import ContractError, DataError, Problem, TableError
from batchdeploy.ports import (
    ModelRegistry,
    PartitionReader,
    PublishedTable,
    ReferenceSource,
    Source,
    TextSource,
    Validator,
)

RUN_FORMAT = "batchdeploy.run/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvePorts:
    """The ports that `resolve` uses.

    Attributes:
        validator: None if the deployment has no suite.
        find_manifest: returns the manifest of a run by partition folder and run id, or None.
    """

    table: PublishedTable
    source: Source
    registry: ModelRegistry
    reader: PartitionReader
    texts: TextSource
    references: ReferenceSource
    validator: Validator | None
    find_manifest: Callable[[str, str], Manifest | None]


def resolve(
    deployment: Deployment,
    partition: str,
    ports: ResolvePorts,
    *,
    now: str,
    model: ModelPin | None = None,
    evolve: bool = False,
) -> Plan:
    """Makes the plan for one partition.

    Args:
        deployment: the deployment to run.
        partition: the partition's value.
        ports: the registry, source, reader and others to use.
        now: the time, ISO 8601.
        model: an already pinned model; a backfill pins the model once for all partitions.
        evolve: allows a change of the table's model name or columns.

    Raises:
        TableError: the table belongs to another deployment, or has other columns.
        RequestError: a ref cannot be resolved, or model, data, suite and reference do not match.
        OutsideError: the registry or the store does not answer.
    """
    check_partition(deployment.data.partition.column, partition, deployment.data.partition.format)
    table = ports.table.record()
    check_owner(deployment.output.path, table, deployment)
    _check_name(deployment, partition, ports.table)
    key = partition_key(deployment.data.partition, partition)
    data = replace(ports.source.pin(deployment.data, partition), partition=key)
    schema = ports.reader.inspect(data)
    model = model or ports.registry.resolve(deployment.model)
    data, schema = type_path_columns(data, schema, model.inputs, casts=deployment.data.casts or ())
    if problems := contract(deployment, model, schema):
        where = f"{deployment.name}: model {model.name} version {model.version} and data"
        raise ContractError(where, problems, hint=casts_hint(deployment, model, schema))
    check_table(deployment.output.path, table, describe_table(deployment, schema), evolve=evolve)
    suite = pin_suite(deployment, ports.texts, ports.validator)
    reference = pin_reference(deployment, ports.references, model)
    pins = _pins(deployment, partition, data, (model, suite, reference))
    folder = deployment.data.partition.folder(partition)
    base_run = ports.table.published_run(folder)
    plan_id = run_id(pins)
    before = None if base_run in (None, plan_id) else base_run
    return Plan(
        run_id=plan_id,
        deployment=deployment,
        partition=partition,
        model=model,
        data=data,
        schema=schema,
        suite=suite,
        reference=reference,
        base_run=base_run,
        changes=() if before is None else _changes(ports.find_manifest(folder, before), before, model, data),
        planned_at=now,
        evolve=evolve,
    )


def _check_name(deployment: Deployment, partition: str, table: PublishedTable) -> None:
    """Raises if an earlier version published the partition in a folder whose name is not escaped."""
    name = deployment.data.partition.folder(partition)
    plain = f"{deployment.data.partition.column}={partition}"
    if plain != name and "/" not in partition and table.published_run(plain) is not None:
        text = f"is published under a name that is not escaped; its rows would lie in {name}, too"
        problem = Problem(plain, text)
        raise TableError(deployment.output.path, (problem,), hint="give the deployment another output.path")


def pin_suite(deployment: Deployment, texts: TextSource, validator: Validator | None) -> TextPin | None:
    """Checks the suite and pins its digest.

    Raises:
        DataError: the suite is missing, not JSON, or has expectations that cannot be evaluated.
    """
    path = deployment.expectations
    if path is None or validator is None:
        return None
    text, pin = texts.read(path, key="expectations")
    if problems := validator.problems(text, where=path):
        raise DataError(path, problems)
    return pin


def pin_reference(deployment: Deployment, references: ReferenceSource, model: ModelPin) -> TextPin | None:
    """Checks that the reference matches the model's columns, and pins its digest.

    Raises:
        DataError: the reference is missing, invalid, or made for other columns.
    """
    spec = deployment.drift
    if spec is None:
        return None
    reference, pin = references.read(spec.reference, key="drift.reference")
    if problems := reference_problems(reference, model, deployment):
        raise DataError(spec.reference, problems, hint="rebuild the reference for this model and data")
    return pin


def _pins(
    deployment: Deployment,
    partition: str,
    data: DataPin,
    others: tuple[ModelPin, TextPin | None, TextPin | None],
) -> bytes:
    """Everything that determines scores and verdicts, but not where a run executes or whom it notifies."""
    model, suite, reference = others
    written = to_plain(without_secrets(deployment))
    for key in ("owner", "root", "engine", "model", "publish", "limits", "backfill", "airflow", "storage"):
        del written[key]
    del written["output"]["control"]
    for key in ("rev", "fetch", "on_missing", "wait_hours", "poll_seconds"):
        del written["data"][key]
    # Left out where there are none, so that run ids of other deployments do not change.
    if not deployment.data.lookups:
        del written["data"]["lookups"]
    for lookup in written["data"].get("lookups", ()):
        del lookup["rev"]
        if lookup["format"] == "parquet":
            del lookup["format"]
    # Runtimes agree to 1e-9 only, so the runtime counts, except the default.
    runtime = [] if deployment.model.runtime == "native" else [deployment.model.runtime]
    # Included only if present, so that run ids of other models do not change.
    asked = [{"params": model.params}] if model.params else []
    asked += [{"tensors": to_plain(model)["tensors"]}] if model.tensors else []
    # Of the partition block, only the column: a changed schedule must not change the run id.
    written["data"]["partition"] = {"column": deployment.data.partition.column}
    return canonical(
        {
            "format": RUN_FORMAT,
            "deployment": written,
            "partition": partition,
            "model": [model.name, model.version, model.digest, *runtime, *asked],
            "data": data.digest,
            "suite": suite and suite.sha256,
            "reference": reference and reference.sha256,
        }
    )


def _changes(before: Manifest | None, base_run: str, model: ModelPin, data: DataPin) -> tuple[str, ...]:
    """Reasons why this plan differs from the published run."""
    if before is None:
        return (f"the visible run {base_run} has no manifest here",)
    changes = []
    if (before.model, before.model_version) != (model.name, model.version):
        changes.append(
            f"model {before.model} version {before.model_version} → {model.name} version {model.version}"
        )
    elif before.model_digest != model.digest:
        changes.append(f"the files of model {model.name} version {model.version}")
    if before.data_digest != data.digest:
        changes.append(f"the input files ({before.rows_in} rows before)")
    return tuple(changes) or ("the deployment, its suite or its reference",)
