"""Checks a deployment for every problem that can be found without reading rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from batchdeploy.core.accelerator_checks import runtime_problems
from batchdeploy.core.contract import contract
from batchdeploy.core.locations import is_uri
from batchdeploy.core.partitions import runnable
from batchdeploy.core.path_columns import type_path_columns
from batchdeploy.core.records import DataPin, InputSchema, ModelPin, TextPin
from batchdeploy.core.suites import needed_columns, suite_entries
from batchdeploy.core.system_errors import reason, translate_system_errors
from batchdeploy.documents import parse_json
from batchdeploy.errors import BatchdeployError, MissingPackageError, OutsideError, Problem
from batchdeploy.stages.resolve import pin_reference, pin_suite
from batchdeploy.workflows.plan import keep_model
from batchdeploy.workflows.status import check_own
from batchdeploy.workflows.toolbox import Toolbox

Findings = dict[str, object]
Check = Callable[[Toolbox, Findings], Iterator[Problem]]


class CheckResult(NamedTuple):
    """The result of a check.

    Attributes:
        problems: the problems; empty if the deployment is valid.
        outside: whether all problems are external failures, which a retry may resolve.
    """

    problems: tuple[Problem, ...]
    outside: bool


def check(tools: Toolbox) -> CheckResult:
    """Collects what would stop `run` before it reads a row: machine, suite, model, data, output."""
    problems: list[Problem] = []
    outside: list[Problem] = []
    findings: Findings = {}
    for one in CHECKS:
        try:
            with translate_system_errors(str(tools.root)):
                problems += one(tools, findings)
        except OutsideError as error:
            outside += _problems_of(error)
        except BatchdeployError as error:
            problems += _problems_of(error)
    if not problems and not outside and isinstance(model := findings.get("model"), ModelPin):
        keep_model(tools, model)
    return CheckResult(tuple(dict.fromkeys(problems + outside)), outside=not problems)


def _problems_of(error: BatchdeployError) -> list[Problem]:
    """The error's problems, each with its place, and the hint appended to the last."""
    problems = [
        p if error.where in p.path else p._replace(path=f"{error.where}: {p.path}") for p in error.problems
    ]
    # For missing packages, one hint covers all problems.
    if error.hint and not isinstance(error, MissingPackageError):
        problems[-1] = problems[-1]._replace(problem=f"{problems[-1].problem} ({error.hint})")
    return problems


def _packages(tools: Toolbox, _findings: Findings) -> Iterator[Problem]:
    tools.check_packages()
    yield from ()


def _machine(tools: Toolbox, _findings: Findings) -> Iterator[Problem]:
    """Requirements of engine and runtime on this machine, which a run first needs after validation."""
    engine = tools.deployment.engine
    if engine.kind == "spark" and engine.remote is None and not _java():
        text = "spark needs Java 17 or 21 on this machine (batchdeploy doctor), or engine.remote"
        yield Problem("engine.kind", text)
    compilers = ("gcc", "clang", "cc")
    if tools.deployment.model.runtime == "compiled" and not any(map(shutil.which, compilers)):
        yield Problem("model.runtime", "compiled needs a C compiler, gcc or clang; none is on the PATH")


def _java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return Path(home, "bin", "java").is_file() if home else shutil.which("java") is not None


def _suite(tools: Toolbox, findings: Findings) -> Iterator[Problem]:
    validator = tools.validator if tools.deployment.expectations is not None else None
    findings["suite"] = pin_suite(tools.deployment, tools.texts, validator)
    yield from ()


def _model(tools: Toolbox, findings: Findings) -> Iterator[Problem]:
    ref = tools.deployment.model
    findings["model"] = model = tools.registry.resolve(ref)
    if ref.runtime == "compiled" and ref.fallback == "refuse":
        yield from runtime_problems(ref.runtime, tools.registry.modules(model))


def _data(tools: Toolbox, findings: Findings) -> Iterator[Problem]:
    ref = tools.deployment.data
    yield from tools.source.partition_problems(ref)
    known = tools.source.partitions(ref)
    newest = (runnable(known, ref.partition) or known)[-1]
    findings["data"] = pin = tools.source.pin(ref, newest)
    findings["schema"] = tools.reader.inspect(pin)


def _contract(tools: Toolbox, findings: Findings) -> Iterator[Problem]:
    model, schema, data = findings.get("model"), findings.get("schema"), findings.get("data")
    if isinstance(model, ModelPin) and isinstance(schema, InputSchema) and isinstance(data, DataPin):
        casts = tools.deployment.data.casts or ()
        _, schema = type_path_columns(data, schema, model.inputs, casts=casts)
        yield from contract(tools.deployment, model, schema)


def _suite_columns(tools: Toolbox, findings: Findings) -> Iterator[Problem]:
    """Columns that the suite uses but the newest partition lacks."""
    schema, suite = findings.get("schema"), findings.get("suite")
    if not isinstance(suite, TextPin) or not isinstance(schema, InputSchema):
        return
    known = {column.name for column in schema.columns} | {tools.deployment.data.partition.column}
    text, _ = tools.texts.read(suite.path, key="expectations")
    entries = suite_entries(parse_json(text, where=suite.path), where=suite.path)
    for place, entry in entries.items():
        if missing := needed_columns(entry) - known:
            path = f"{suite.path}: expectations.{place}"
            yield Problem(path, "no such column in the data", ", ".join(sorted(missing)))


def _reference(tools: Toolbox, findings: Findings) -> Iterator[Problem]:
    if isinstance(model := findings.get("model"), ModelPin):
        pin_reference(tools.deployment, tools.references, model)
    yield from ()


def _output(tools: Toolbox, _findings: Findings) -> Iterator[Problem]:
    """Problems with the output table: another owner, or a folder that cannot be written."""
    check_own(tools)
    output = tools.deployment.output
    if not is_uri(output.path):
        yield from _place(tools.layout.table, "output.path")
    if tools.layout.control_uri is None:
        yield from _place(tools.layout.control, "output.path" if output.control is None else "output.control")


def _place(folder: Path, key: str) -> Iterator[Problem]:
    place = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    try:
        listed = os.scandir(place)
    except OSError as error:
        yield Problem(f"{key}: {place}", reason(error))
        return
    listed.close()
    if not os.access(place, os.W_OK | os.X_OK):
        yield Problem(f"{key}: {place}", "this user may not write there")


CHECKS: tuple[Check, ...] = (
    _packages,
    _machine,
    _suite,
    _model,
    _data,
    _contract,
    _suite_columns,
    _reference,
    _output,
)
