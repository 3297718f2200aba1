"""Fixtures: one small real project (data, registry, reference), built once and copied for each test."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from flights_projects import repro, working_copy
from tests_support import SPARKS, Result

from batchdeploy.cli import main
from batchdeploy.workflows import stopping

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("AIRFLOW__USAGE_DATA_COLLECTION__ENABLED", "False")
os.environ.pop("MLFLOW_TRACKING_URI", None)
# Only the first JIT compiler, because these JVMs live for seconds.
for options in ("SPARK_SUBMIT_OPTS", "SPARK_DAEMON_JAVA_OPTS"):
    os.environ.setdefault(options, "-XX:TieredStopAtLevel=1")

# No test asserts a duration: a busy machine is no bug.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# py4j logs at the interpreter's exit, when pytest has closed the stream.
logging.getLogger("py4j").setLevel(logging.WARNING)

REPOSITORY = Path(__file__).parents[1]
DAYS = ("2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04")

DEPLOYMENT = """\
name: churn
owner: tests
model: {name: churn, alias: champion}
data:
  path: data/customers
  partition: {column: date}
  keys: [customer_id]
expectations: expectations/customers.json
output:
  path: scores/churn
  columns: {churn_probability: {type: double, select: 1}}
  keep: [city]
drift: {reference: data/reference/churn.json}
engine: {kind: local}
"""

SUITE = {
    "name": "customers",
    "expectations": [
        {
            "type": "expect_column_values_to_be_unique",
            "kwargs": {"column": "customer_id"},
            "meta": {"level": "block"},
        },
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "age", "min_value": 0, "max_value": 120},
            "meta": {"level": "block"},
        },
        {
            "type": "expect_column_values_to_not_be_null",
            "kwargs": {"column": "income", "mostly": 0.5},
            "meta": {"level": "warn"},
        },
    ],
}


# A file runs in one worker, so long files start first, or the other worker would idle at the end.
LONG_FILES = (
    "test_flights.py",
    "test_airflow_server.py",
    "test_clusters.py",
    "test_separate_machines.py",
    "test_airflow_machines.py",
    "test_stops.py",
    "test_engines.py",
    "test_spark_reads.py",
    "test_airflow.py",
    "test_spark_kills.py",
    "test_bad_publishers.py",
    "test_compiled.py",
    "test_stores.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the engine tests' Spark is: ``pytest tests/test_engines.py --spark standalone``."""
    parser.addoption("--spark", choices=SPARKS, default="local", help="where test_engines has its Spark")
    parser.addoption("--read", choices=("splits", "spark"), default="splits", help="who reads rows on Spark")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first; within a file the order stays."""
    order = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with four days of made-up customers and two registered versions of a model."""
    from tests_support import build_project

    root = tmp_path_factory.mktemp("template")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build_project(root, DAYS)
    write(root / "dags" / "churn.yaml", DEPLOYMENT)
    write(root / "expectations" / "customers.json", json.dumps(SUITE))
    write(root / "dvc.yaml", "stages: {}\n")
    return root


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """An S3 server on loopback, its port; it keeps what is stored in it for the whole session."""
    from faults.stores import s3

    with s3() as port:
        yield port


@pytest.fixture(scope="session")
def azure_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An Azure Blob server on loopback, its port; for the whole session."""
    from object_stores import azurite, azurite_command

    command = azurite_command()
    if command is None:
        pytest.skip("needs azurite-blob: bash .ci/azurite")
    with azurite(command, tmp_path_factory.mktemp("azurite")) as port:
        yield port


@pytest.fixture
def store_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of both servers, in the environment."""
    from object_stores import CREDENTIALS

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A copy of the template that a test may spoil; the models' files stay in the template."""
    from tests_support import copy_project

    return copy_project(template, tmp_path / "project")


@pytest.fixture(scope="session")
def plain(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its second day scored; tests only read it."""
    from tests_support import copy_project

    from batchdeploy.assembly import open_toolbox
    from batchdeploy.workflows.run import run

    root = copy_project(template, tmp_path_factory.mktemp("plain") / "project")
    run(open_toolbox(root / "dags" / "churn.yaml"), DAYS[1])
    return root


@pytest.fixture
def deployment(project: Path) -> Path:
    return project / "dags" / "churn.yaml"


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a stranger would clone it, after `dvc repro`."""
    root = tmp_path_factory.mktemp("clone")
    working_copy(root)
    repro(root)
    with warnings.catch_warnings():
        # NOTE: warnings of MLflow's modules at their first import would fail whichever test came first, and
        # leave the modules half imported for the others.
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        uri = f"sqlite:///{root / 'mlflow.db'}"
        mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models()
        mlflow.pyfunc.load_model  # noqa: B018
    return root


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test depends on the working directory, nor on the URIs that MLflow leaves in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
    yield
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)


@pytest.fixture
def no_files() -> Iterator[None]:
    """Fails a test that writes a file; for tests on fakes."""
    from fakes.guard import no_file_written

    with no_file_written():
        yield


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The entry point in this process, with its exit code."""

    # NOTE: SIGTERM, which `timeout` sends, must end pytest. The entry point would handle it as the end of its
    # command, and the test would fail with exit code 3.
    monkeypatch.setattr(stopping, "stop_on_sigterm", lambda: None)

    def call(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["batchdeploy", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call
