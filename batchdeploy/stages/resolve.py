"""Deployment and partition to a plan: every ref becomes a pin, and everything is checked before any row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchdeploy.core.contract import casts_hint, contract, reference_problems
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.path_columns import type_path_columns
from batchdeploy.core.pins import check_partition, run_id
from batchdeploy.core.records import DataPin, Manifest, ModelPin, Plan, TextPin
from batchdeploy.core.secrets import without_secrets
from batchdeploy.core.tables import check_owner, check_table, describe_table
from batchdeploy.documents import canonical, to_plain
from batchdeploy.errors import ContractError, DataError
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
    """What resolving uses.

    Attributes:
        validator: None where the deployment has no suite.
        find_manifest: partition folder and run id to the manifest of that run, or None.
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
    """The plan for one partition.

    Args:
        deployment: what is to be run.
        partition: the partition's value.
        ports: what resolving uses.
        now: the time, ISO 8601.
        model: a model pinned already, as a backfill pins it once for all its partitions.
        evolve: lets the table get another model's scores, or other columns, than it has.

    Raises:
        TableError: the table is another deployment's, or has other columns.
        RequestError: a ref that leads nowhere, or model, data, suite and reference that do not fit.
        OutsideError: registry or store do not answer.
    """
    check_partition(deployment.data.partition.column, partition, deployment.data.partition.format)
    table = ports.table.record()
    check_owner(deployment.output.path, table, deployment)
    data = ports.source.pin(deployment.data, partition)
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


def pin_suite(deployment: Deployment, texts: TextSource, validator: Validator | None) -> TextPin | None:
    """The suite's digest, once it is known that it can be evaluated.

    Raises:
        DataError: it is missing, not JSON, or holds what Great Expectations would drop or trip over.
    """
    path = deployment.expectations
    if path is None or validator is None:
        return None
    text, pin = texts.read(path, key="expectations")
    if problems := validator.problems(text, where=path):
        raise DataError(path, problems)
    return pin


def pin_reference(deployment: Deployment, references: ReferenceSource, model: ModelPin) -> TextPin | None:
    """The reference's digest, once it is known that it was made for these columns.

    Raises:
        DataError: it is missing, no reference, or made for another schema.
    """
    spec = deployment.drift
    if spec is None:
        return None
    reference, pin = references.read(spec.reference, key="drift.reference")
    if problems := reference_problems(reference, model, deployment):
        raise DataError(spec.reference, problems, hint="make the reference again for this model and data")
    return pin


def _pins(
    deployment: Deployment,
    partition: str,
    data: DataPin,
    others: tuple[ModelPin, TextPin | None, TextPin | None],
) -> bytes:
    """What decides the scores and the verdicts on them; not where it runs, nor who is told."""
    model, suite, reference = others
    written = to_plain(without_secrets(deployment))
    for key in ("owner", "root", "engine", "model", "publish", "limits", "backfill", "airflow", "storage"):
        del written[key]
    for key in ("rev", "fetch", "on_missing", "wait_hours", "poll_seconds"):
        del written["data"][key]
    # NOTE: another runtime gives the same scores to 1e-9, not to the last bit.
    runtime = [] if deployment.model.runtime == "native" else [deployment.model.runtime]
    # NOTE: a model without them keeps the run ids that it had before there were any.
    asked = [{"params": model.params}] if model.params else []
    asked += [{"tensors": to_plain(model)["tensors"]}] if model.tensors else []
    # NOTE: of the partition block only the column; the rest says when, which must not make another run.
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
