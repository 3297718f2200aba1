"""Deployment and partition to a plan: every ref becomes a pin, and everything is checked before any row."""

from __future__ import annotations

import hashlib
from pathlib import Path

from batchdeploy.core.contract import casts_hint, contract, reference_problems
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.path_hints import describe_lookup
from batchdeploy.core.pins import check_partition, run_id
from batchdeploy.core.profiles import Reference
from batchdeploy.core.records import DataPin, InputSchema, Manifest, ModelPin, Plan, TextPin
from batchdeploy.core.secrets import without_secrets
from batchdeploy.core.system_errors import reason
from batchdeploy.core.tables import check_owner, check_table, describe_table
from batchdeploy.documents import canonical, from_json, to_plain
from batchdeploy.documents.yaml_files import read_bounded
from batchdeploy.errors import ContractError, DataError, Problem
from batchdeploy.ports import Toolbox

RUN_FORMAT = "batchdeploy.run/1"
# NOTE: of a suite or a reference; a reference of 1,000 columns has some 4 MB.
MOST_BYTES = 256 << 20


def resolve(
    tools: Toolbox, partition: str, *, now: str, model: ModelPin | None = None, evolve: bool = False
) -> Plan:
    """The plan for one partition.

    Args:
        tools: the deployment and what answers for it.
        partition: the partition's value.
        now: the time, ISO 8601.
        model: a model pinned already, as a backfill pins it once for all its partitions.
        evolve: lets the table get another model's scores, or other columns, than it has.

    Raises:
        TableError: the table is another deployment's, or has other columns.
        RequestError: a ref that leads nowhere, or model, data, suite and reference that do not fit.
        OutsideError: registry or store do not answer.
    """
    deployment = tools.deployment
    check_partition(deployment.data.partition.column, partition, deployment.data.partition.format)
    table = tools.table.record()
    check_owner(deployment.output.path, table, deployment)
    data = tools.store.pin(deployment.data, partition)
    schema = tools.inspect(data)
    model = model or tools.registry.resolve(deployment.model)
    if problems := contract(deployment, model, schema):
        where = f"{deployment.name}: model {model.name} version {model.version} and data"
        raise ContractError(where, problems, hint=casts_hint(deployment, model, schema))
    check_table(deployment.output.path, table, describe_table(deployment, schema), evolve=evolve)
    suite = pin_suite(tools)
    reference = pin_reference(tools, model)
    pins = _pins(deployment, partition, data, (model, suite, reference))
    folder = deployment.data.partition.folder(partition)
    base_run = tools.table.published_run(folder)
    plan_id = run_id(pins)
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
        changes=() if base_run in (None, plan_id) else _changes(tools, folder, base_run, model, data),
        planned_at=now,
        evolve=evolve,
    )


def suite_text(tools: Toolbox) -> str:
    """The text of the deployment's suite.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    return _read(tools.root, tools.deployment.expectations or "", "expectations")[0]


def pin_suite(tools: Toolbox) -> TextPin | None:
    """The suite's digest, once it is known that it can be evaluated.

    Raises:
        DataError: it is missing, not JSON, or holds what Great Expectations would drop or trip over.
    """
    path = tools.deployment.expectations
    if path is None:
        return None
    text, pin = _read(tools.root, path, "expectations")
    if problems := tools.validator.problems(text, where=path):
        raise DataError(path, problems)
    return pin


def pin_reference(tools: Toolbox, model: ModelPin) -> TextPin | None:
    """The reference's digest, once it is known that it was made for these columns.

    Raises:
        DataError: it is missing, no reference, or made for another schema.
    """
    spec = tools.deployment.drift
    if spec is None:
        return None
    text, pin = _read(tools.root, spec.reference, "drift.reference")
    reference = from_json(Reference, text, where=spec.reference)
    if problems := reference_problems(reference, model, tools.deployment):
        raise DataError(spec.reference, problems, hint="make the reference again for this model and data")
    return pin


def _read(root: Path, path: str, key: str) -> tuple[str, TextPin]:
    try:
        raw = read_bounded(root / path, MOST_BYTES)
        return raw.decode("utf-8"), TextPin(path=path, sha256=hashlib.sha256(raw).hexdigest())
    except FileNotFoundError:
        raise DataError(path, (Problem(key, f"no such file: {describe_lookup(path, root)}"),)) from None
    except OSError as error:
        raise DataError(path, (Problem(key, reason(error)),)) from None
    except UnicodeDecodeError as error:
        raise DataError(path, (Problem(key, f"is not UTF-8 text (byte {error.start})"),)) from None


def _pins(
    deployment: Deployment,
    partition: str,
    data: DataPin,
    others: tuple[ModelPin, TextPin | None, TextPin | None],
) -> bytes:
    """What decides the scores and the verdicts on them; not where it runs, nor who is told."""
    model, suite, reference = others
    written = to_plain(without_secrets(deployment))
    for key in ("owner", "root", "engine", "model", "publish", "limits", "backfill", "airflow"):
        del written[key]
    for key in ("rev", "on_missing", "wait_hours", "poll_seconds"):
        del written["data"][key]
    # NOTE: another runtime gives the same scores to 1e-9, not to the last bit.
    runtime = [] if deployment.model.runtime == "native" else [deployment.model.runtime]
    # NOTE: of the partition block only the column; the rest says when, which must not make another run.
    written["data"]["partition"] = {"column": deployment.data.partition.column}
    return canonical(
        {
            "format": RUN_FORMAT,
            "deployment": written,
            "partition": partition,
            "model": [model.name, model.version, model.digest, *runtime],
            "data": data.digest,
            "suite": suite and suite.sha256,
            "reference": reference and reference.sha256,
        }
    )


def _changes(
    tools: Toolbox, folder: str, base_run: str | None, model: ModelPin, data: DataPin
) -> tuple[str, ...]:
    """Why what would be published is not what is there."""
    before = _manifest(tools, folder, base_run or "")
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


def _manifest(tools: Toolbox, folder: str, base_run: str) -> Manifest | None:
    file = tools.layout.run(folder, base_run) / "manifest.json"
    return from_json(Manifest, file.read_bytes(), where=str(file)) if file.is_file() else None


__all__ = ["InputSchema", "pin_reference", "pin_suite", "resolve"]
