"""All that is wrong with a deployment and can be known before any row is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from batchdeploy.core.accelerator_checks import runtime_problems
from batchdeploy.core.contract import contract
from batchdeploy.core.partitions import runnable
from batchdeploy.core.records import InputSchema, ModelPin, TextPin
from batchdeploy.core.suites import needed_columns, suite_entries
from batchdeploy.core.system_errors import reason, translate_system_errors
from batchdeploy.documents import parse_json
from batchdeploy.errors import BatchdeployError, MissingPackageError, OutsideError, Problem
from batchdeploy.stages.resolve import pin_reference, pin_suite
from batchdeploy.workflows.status import check_own
from batchdeploy.workflows.toolbox import Toolbox

Found = dict[str, object]
Step = Callable[[Toolbox, Found], Iterator[Problem]]


class Checked(NamedTuple):
    """What was found.

    Attributes:
        problems: empty where nothing is wrong.
        outside: whether all of them are failures outside, which may be gone when it is asked again.
    """

    problems: tuple[Problem, ...]
    outside: bool


def check(tools: Toolbox) -> Checked:
    """Every problem that `run` would meet before it reads a row: machine, suite, model, data, output."""
    problems: list[Problem] = []
    outside: list[Problem] = []
    found: Found = {}
    for step in STEPS:
        try:
            with translate_system_errors(str(tools.root)):
                problems += step(tools, found)
        except OutsideError as error:
            outside += _told(error)
        except BatchdeployError as error:
            problems += _told(error)
    return Checked(tuple(dict.fromkeys(problems + outside)), outside=not problems)


def _told(error: BatchdeployError) -> list[Problem]:
    """Its problems, each with where it is, and the last one with what to do about it."""
    told = [
        p if error.where in p.path else p._replace(path=f"{error.where}: {p.path}") for p in error.problems
    ]
    # NOTE: for packages there is one hint for all of them.
    if error.hint and not isinstance(error, MissingPackageError):
        told[-1] = told[-1]._replace(problem=f"{told[-1].problem} ({error.hint})")
    return told


def _packages(tools: Toolbox, _found: Found) -> Iterator[Problem]:
    tools.check_packages()
    yield from ()


def _machine(tools: Toolbox, _found: Found) -> Iterator[Problem]:
    """What engine and runtime need of this machine, which is first asked for after rows were validated."""
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


def _suite(tools: Toolbox, found: Found) -> Iterator[Problem]:
    validator = tools.validator if tools.deployment.expectations is not None else None
    found["suite"] = pin_suite(tools.deployment, tools.texts, validator)
    yield from ()


def _model(tools: Toolbox, found: Found) -> Iterator[Problem]:
    ref = tools.deployment.model
    found["model"] = model = tools.registry.resolve(ref)
    if ref.runtime == "compiled" and ref.fallback == "refuse":
        yield from runtime_problems(ref.runtime, tools.registry.modules(model))


def _data(tools: Toolbox, found: Found) -> Iterator[Problem]:
    ref = tools.deployment.data
    yield from tools.source.partition_problems(ref)
    known = tools.source.partitions(ref)
    newest = (runnable(known, ref.partition) or known)[-1]
    found["schema"] = tools.reader.inspect(tools.source.pin(ref, newest))


def _contract(tools: Toolbox, found: Found) -> Iterator[Problem]:
    model, schema = found.get("model"), found.get("schema")
    if isinstance(model, ModelPin) and isinstance(schema, InputSchema):
        yield from contract(tools.deployment, model, schema)


def _suite_columns(tools: Toolbox, found: Found) -> Iterator[Problem]:
    """Columns that the suite wants to look at, and that the newest partition has not."""
    schema, suite = found.get("schema"), found.get("suite")
    if not isinstance(suite, TextPin) or not isinstance(schema, InputSchema):
        return
    known = {column.name for column in schema.columns} | {tools.deployment.data.partition.column}
    text, _ = tools.texts.read(suite.path, key="expectations")
    entries = suite_entries(parse_json(text, where=suite.path), where=suite.path)
    for place, entry in entries.items():
        if missing := needed_columns(entry) - known:
            path = f"{suite.path}: expectations.{place}"
            yield Problem(path, "no such column in the data", ", ".join(sorted(missing)))


def _reference(tools: Toolbox, found: Found) -> Iterator[Problem]:
    if isinstance(model := found.get("model"), ModelPin):
        pin_reference(tools.deployment, tools.references, model)
    yield from ()


def _output(tools: Toolbox, _found: Found) -> Iterator[Problem]:
    """Whether the table is this deployment's, and whether there can be a table at all."""
    check_own(tools)
    path = tools.deployment.output.path
    if "://" in path:
        return
    for folder in (tools.layout.table, tools.layout.control):
        yield from _place(folder)


def _place(folder: Path) -> Iterator[Problem]:
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        listed = os.scandir(there)
    except OSError as error:
        yield Problem(f"output.path: {there}", reason(error))
        return
    listed.close()
    if not os.access(there, os.W_OK | os.X_OK):
        yield Problem(f"output.path: {there}", "this user may not write there")


STEPS: tuple[Step, ...] = (
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
