"""The installed wheel, and the errors for missing optional packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests_support import Result, edit, tree

import batchdeploy as bd
from batchdeploy.errors import MissingPackageError
from batchdeploy.host import packages

REPOSITORY = Path(__file__).parents[1]
DAY = "2024-03-02"


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes packages look as if they were not installed."""

    def hide_them(*names: str) -> None:
        # Patched, because the tests' environment has all packages.
        monkeypatch.setattr(packages, "find_spec", lambda name: None if name in names else find_spec(name))

    return hide_them


@pytest.mark.slow
def test_the_wheel_holds_all_that_the_package_has(tmp_path: Path) -> None:
    for name in ("batchdeploy", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=ignored)
        else:
            shutil.copy2(REPOSITORY / name, tmp_path / name)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        held = {name for name in wheel.namelist() if name.startswith("batchdeploy/")}
    files = (f for f in (REPOSITORY / "batchdeploy").rglob("*") if f.is_file())
    wanted = {str(f.relative_to(REPOSITORY)) for f in files if "__pycache__" not in f.parts}
    assert "batchdeploy/py.typed" in held
    assert held == wanted


def test_the_version_is_told(cli: Callable[..., Result]) -> None:
    done = cli("--version")
    assert (done.code, done.out) == (0, f"batchdeploy {bd.__version__}\n")
    assert "--version" in cli("--help").out


@pytest.mark.parametrize("command", ["run", "check"])
def test_all_missing_parts_are_named_at_once(
    project: Path, cli: Callable[..., Result], hide: Callable[..., None], command: str
) -> None:
    edit("{kind: local}", "{kind: spark}\npublish: {mode: pointer}")(project)
    edit("alias: champion", "alias: champion, runtime: onnx")(project)
    hide("pyspark", "great_expectations", "obstore", "onnxruntime")
    before = tree(project)
    words = (command, project / "dags" / "churn.yaml")
    done = cli(*words, *(("-p", DAY) if command == "run" else ()))
    assert done.code == 2
    for key, name in {
        "engine.kind: spark": "pyspark",
        "expectations": "great_expectations",
        "publish.mode: pointer": "obstore",
        "model.runtime: onnx": "onnxruntime",
    }.items():
        assert f"{key}: needs {name}, which is not installed" in done.err
    assert done.err.count("not installed") == 4
    assert "Hint: pip install 'batchdeploy[gx,objects,onnx,spark]'" in done.err
    assert tree(project) == before


@pytest.mark.slow
def test_what_a_deployment_does_not_use_may_be_missing(
    deployment: Path, cli: Callable[..., Result], hide: Callable[..., None]
) -> None:
    hide("pyspark", "obstore", "onnxruntime", "treelite", "dvc")
    assert cli("run", deployment, "-p", DAY).code == 0
    hide("great_expectations")
    assert cli("status", deployment).code == 0


def test_a_step_that_needs_it_names_it_before_anything_is_written(
    project: Path, deployment: Path, hide: Callable[..., None]
) -> None:
    edit("{kind: local}", "{kind: spark}")(project)
    hide("pyspark")
    before = tree(project)
    with bd.load(deployment) as job, pytest.raises(MissingPackageError, match="spark: needs pyspark"):
        job.run(DAY)
    assert tree(project) == before


def test_init_names_all_that_it_needs(
    tmp_path: Path, cli: Callable[..., Result], hide: Callable[..., None]
) -> None:
    hide("mlflow", "great_expectations")
    done = cli("init", tmp_path / "new")
    assert done.code == 2
    assert "Hint: pip install 'batchdeploy[gx,mlflow]'" in done.err
    assert not (tmp_path / "new").exists()
