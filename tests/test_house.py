"""Checks the import contracts and what a door loads. Planted breaches prove that the checks work."""

from __future__ import annotations

import ast
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
HEAVY = ("airflow", "pyspark", "mlflow", "great_expectations", "dvc", "pandas", "pyarrow", "numpy", "sklearn")
PROBE = "import sys; {body}; print([m for m in {heavy!r} if m in sys.modules])"


def loaded(body: str, heavy: tuple[str, ...] = HEAVY, folder: Path = REPOSITORY) -> str:
    """Which heavy modules a fresh interpreter has after running this."""
    code = PROBE.format(body=body, heavy=heavy)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "body",
    [
        "import batchdeploy",
        "import batchdeploy; batchdeploy.load",
        "import batchdeploy as bd; bd.load('dags/flights.yaml')",
        "import batchdeploy.workflows.run, batchdeploy.assembly, batchdeploy.documents",
        "import batchdeploy.cli.commands",
        "import pkgutil, importlib, batchdeploy.core as c;"
        "[importlib.import_module('batchdeploy.core.' + m.name) for m in pkgutil.iter_modules(c.__path__)]",
    ],
)
def test_a_door_loads_nothing_heavy(body: str) -> None:
    assert loaded(body) == "[]"


@pytest.mark.airflow
@pytest.mark.parametrize("file", sorted(str(f.relative_to(REPOSITORY)) for f in REPOSITORY.glob("dags/*.py")))
def test_a_dag_file_loads_nothing_heavy_but_airflow(file: str, tmp_path: Path) -> None:
    body = (
        f"import os; os.environ['AIRFLOW_HOME'] = {str(tmp_path)!r}; import runpy; runpy.run_path({file!r})"
    )
    assert loaded(body, heavy=tuple(name for name in HEAVY if name != "airflow")) == "[]"


def copy_of_the_house(target: Path) -> Path:
    shutil.copytree(REPOSITORY / "batchdeploy", target / "batchdeploy")
    shutil.copy2(REPOSITORY / "setup.cfg", target)
    return target / "batchdeploy"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["lint-imports", "--config", "setup.cfg", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


BREACHES = {
    "a stage imports a stage": (
        "stages/score.py", "import batchdeploy.stages.validate", "No stage imports another",
    ),
    "an adapter imports an adapter": (
        "adapters/engines/local.py", "import batchdeploy.adapters.charts", "No adapter imports another",
    ),
    "the core knows a stage": (
        "core/drift.py", "import batchdeploy.stages.measure_drift", "Each room knows only",
    ),
    "a stage takes the toolbox": (
        "stages/score.py", "import batchdeploy.workflows.toolbox", "Each room knows only",
    ),
    "a stage chooses its tools": ("stages/score.py", "import batchdeploy.assembly", "Each room knows only"),
    "a workflow prints": ("workflows/run.py", "import batchdeploy.cli.screens", "Each room knows only"),
    "mlflow outside its adapter": ("stages/resolve.py", "import mlflow", "mlflow stays behind its door"),
    "spark in the kernel": ("kernel/scoring.py", "import pyspark", "pyspark stays behind its door"),
    "airflow in the shell": ("cli/commands.py", "import airflow", "airflow stays behind its door"),
    "the kernel knows a port": ("kernel/scoring.py", "import batchdeploy.ports", "Each room knows only"),
    "a model's insides in the kernel": (
        "kernel/frames.py", "import sklearn", "sklearn stays behind its door",
    ),
    "a frame in the core": ("core/comparison.py", "import pandas", "pandas stays where batches are"),
    "rows in a stage": ("stages/score.py", "import pyarrow", "pyarrow stays where batches are"),
    "arrays in a workflow": ("workflows/run.py", "import numpy", "numpy stays where batches are"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line", "contract"), BREACHES.values(), ids=BREACHES.keys())
def test_a_planted_breach_is_caught(tmp_path: Path, file: str, line: str, contract: str) -> None:
    house = copy_of_the_house(tmp_path)
    text = (house / file).read_text(encoding="utf-8")
    (house / file).write_text(
        text.replace("\nfrom ", f"\n{line}\nfrom ", 1) + f"\n{line}\n", encoding="utf-8"
    )
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert re.search(rf"{re.escape(contract)}.* BROKEN", done.stdout), done.stdout


def test_the_house_as_it_stands_keeps_its_contracts(tmp_path: Path) -> None:
    copy_of_the_house(tmp_path)
    done = lint_imports(tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "line"),
    [("__init__.py", "import pandas"), ("errors.py", "import numpy"), ("notebook/job.py", "import mlflow")],
)
def test_a_planted_heavy_import_is_seen(tmp_path: Path, file: str, line: str) -> None:
    house = copy_of_the_house(tmp_path)
    with (house / file).open("a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
    body = f"sys.path.insert(0, {str(tmp_path)!r}); import batchdeploy, batchdeploy.notebook"
    assert line.split()[1] in loaded(body, folder=tmp_path)


def test_no_module_has_grown_over_300_lines() -> None:
    long = {
        str(file.relative_to(REPOSITORY)): lines
        for file in (REPOSITORY / "batchdeploy").rglob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 300
    }
    assert long == {}


def test_modules_are_short_in_the_median() -> None:
    files = (REPOSITORY / "batchdeploy").rglob("*.py")
    assert statistics.median(len(f.read_text(encoding="utf-8").splitlines()) for f in files) <= 110


def test_few_modules_stand_beside_the_rooms() -> None:
    names = {file.stem for file in (REPOSITORY / "batchdeploy").glob("*.py")} - {"__init__", "__main__"}
    assert len(names) <= 7, sorted(names)


MAX_MEMBERS = 7


def large_protocols(file: Path) -> list[str]:
    """Protocols with more than seven members, methods and properties; plain attributes do not count."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef) or "Protocol" not in {getattr(b, "id", "") for b in node.bases}:
            continue
        members = [one for one in node.body if isinstance(one, ast.FunctionDef)]
        if len(members) > MAX_MEMBERS:
            found.append(f"{file.name}: {node.name} has {len(members)} members")
    return found


def test_no_protocol_has_more_than_seven_members() -> None:
    files = (REPOSITORY / "batchdeploy").rglob("*.py")
    assert [found for file in files for found in large_protocols(file)] == []


def test_a_planted_large_protocol_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    methods = [f"    def method_{number}(self) -> None: ..." for number in range(MAX_MEMBERS)]
    file.write_text("\n".join(["class Port(Protocol):", *methods]), encoding="utf-8")
    assert large_protocols(file) == []
    text = file.read_text(encoding="utf-8")
    for member in ("def one_more(self) -> None: ...", "@property\n    def more(self) -> int: ..."):
        file.write_text(f"{text}\n    {member}\n", encoding="utf-8")
        assert large_protocols(file) == ["planted.py: Port has 8 members"]


# What only `core.layout` and `storage.run_records` spell: everybody else asks them.
ON_DISK = {
    "plan.json", "check.json", "scored.json", "drift.json", "refusal.json", "manifest.json", "report.html",
    "current.json", "staging", "intents", "claims", "retired", "comparisons", "attempts",
}  # fmt: skip
SPELLED_BY = {"layout.py", "run_records.py"}
# NOTE: errors may import nothing, and says where the report of a refusal is.
SPELLED_BY |= {"errors.py"}


def names_on_disk(file: Path) -> list[str]:
    """Text in code, not in docstrings, that has one of those names between its slashes."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return [
        f"{file.name}:{text.lineno} {text.value}"
        for text in texts
        if id(text) not in prose and ON_DISK & set(str(text.value).split("/"))
    ]


def test_nobody_else_spells_what_lies_on_disk() -> None:
    files = [f for f in (REPOSITORY / "batchdeploy").rglob("*.py") if f.name not in SPELLED_BY]
    assert [found for file in files for found in names_on_disk(file)] == []


def test_a_planted_name_on_disk_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "planted.py"
    lines = (
        '"""Writes manifest.json."""',
        "a = run / 'manifest.json'",
        "b = f'{run}/attempts/{a}'",
        "c = 'plan'",
    )
    file.write_text("\n".join(lines), encoding="utf-8")
    assert names_on_disk(file) == ["planted.py:2 manifest.json", "planted.py:3 /attempts/"]


def test_nothing_is_called_utils() -> None:
    banned = {"utils.py", "helpers.py", "common.py", "base.py", "manager.py", "misc.py"}
    assert not banned & {file.name for file in (REPOSITORY / "batchdeploy").rglob("*.py")}


# Functions that execute text, in Python, pandas and Spark.
EXECUTES = {
    "sql",
    "selectExpr",
    "expr",
    "eval",
    "exec",
    "query",
    "createOrReplaceTempView",
    "system",
    "popen",
}
TAKES_SQL = {"filter", "where", "having"}


def text_that_is_executed(file: Path) -> list[str]:
    """Calls in a file that could execute text: SQL, expressions, Python, a shell."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        text = [
            a for a in node.args if isinstance(a, ast.JoinedStr) or isinstance(getattr(a, "value", 0), str)
        ]
        shell = any(k.arg == "shell" for k in node.keywords)
        if name in EXECUTES or shell or (name in TAKES_SQL and text):
            found.append(f"{file.name}:{node.lineno} {name}")
    return found


def test_nothing_executes_text() -> None:
    files = [*(REPOSITORY / "batchdeploy").rglob("*.py"), *(REPOSITORY / "dags").rglob("*.py")]
    assert len(files) > 60
    assert [found for file in files for found in text_that_is_executed(file)] == []


@pytest.mark.parametrize(
    "line",
    [
        "spark.sql('select 1')",
        "frame.filter(f'age > {limit}')",
        "frame.where('age > 3')",
        "frame.selectExpr('1')",
        "functions.expr(text)",
        "frame.query(text)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_planted_text_that_is_executed_is_seen(tmp_path: Path, line: str) -> None:
    file = tmp_path / "planted.py"
    file.write_text(f"def f(spark, frame, text, limit):\n    return {line}\n", encoding="utf-8")
    assert len(text_that_is_executed(file)) == 1
