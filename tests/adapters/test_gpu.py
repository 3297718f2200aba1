"""engine.gpu: the settings it stands for, and what it says where something is missing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from batchdeploy.adapters.engines.spark import SparkEngine
from batchdeploy.adapters.engines.spark.gpu import on_gpu, with_gpu
from batchdeploy.errors import EngineError

LOCAL, CLUSTER = "local[*]", "spark://master:7077"


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    """A file where RAPIDS' jar would be."""
    file = tmp_path / "rapids-4-spark_2.13-26.04.2.jar"
    file.touch()
    return file


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What nvidia-smi says on this machine, as its script."""

    def says(script: str | None) -> None:
        tools = tmp_path / "tools"
        tools.mkdir()
        if script is not None:
            tool = tools / "nvidia-smi"
            tool.write_text(f"#!/bin/sh\n{script}\n")
            tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tools))

    return says


def test_the_switch_sets_what_is_needed_and_leaves_what_was_set(jar: Path, driver: Any) -> None:
    driver("echo NVIDIA A100")
    conf = {
        "spark.jars": f"/other.jar,file://{jar}",
        "spark.plugins": "org.example.Mine",
        "spark.rapids.memory.gpu.allocFraction": "0.3",
    }
    settings = with_gpu("rapids", LOCAL, conf)
    assert settings["spark.plugins"] == "com.nvidia.spark.SQLPlugin,org.example.Mine"
    assert settings["spark.rapids.memory.gpu.allocFraction"] == "0.3"
    assert settings["spark.python.daemon.module"] == "rapids.daemon"
    assert settings["spark.executorEnv.PYTHONPATH"] == str(jar)
    assert settings["spark.jars"] == conf["spark.jars"]
    assert "spark.task.resource.gpu.amount" not in settings
    assert with_gpu("auto", LOCAL, conf) == settings
    assert with_gpu("rapids", LOCAL, settings)["spark.plugins"] == settings["spark.plugins"]


def test_on_a_cluster_tasks_ask_for_gpus_and_this_machine_needs_none(driver: Any, jar: Path) -> None:
    driver(None)
    settings = with_gpu("rapids", CLUSTER, {"spark.driver.extraClassPath": f"{jar.parent}/*"})
    assert settings["spark.executor.resource.gpu.amount"] == "1"
    assert settings["spark.executorEnv.PYTHONPATH"] == str(jar)
    fetched = with_gpu("rapids", CLUSTER, {"spark.jars.packages": "com.nvidia:rapids-4-spark_2.13:26.04.2"})
    assert "spark.executorEnv.PYTHONPATH" not in fetched


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "nvidia-smi is not on PATH"),
        ("echo No devices were found; exit 6", "No devices were found"),
        ("true", "names none"),
    ],
)
def test_all_that_is_missing_is_said_at_once(driver: Any, script: str | None, said: str) -> None:
    driver(script)
    with pytest.raises(EngineError) as refused:
        with_gpu("rapids", LOCAL, {"spark.jars": "/nowhere/rapids-4-spark_2.13-26.04.2.jar"})
    text = str(refused.value)
    assert said in text
    assert "no rapids-4-spark_*.jar in spark.jars" in text
    assert "2 problems" in text


def test_models_answer_on_the_gpu_only_where_python_workers_have_one(driver: Any, jar: Path) -> None:
    driver(None)
    set_up = with_gpu("rapids", CLUSTER, {"spark.jars": str(jar)})
    assert on_gpu(set_up)
    assert not on_gpu({**set_up, "spark.rapids.sql.python.gpu.enabled": "false"})
    assert not on_gpu(with_gpu("auto", LOCAL, {}))
    assert SparkEngine(CLUSTER, {"spark.jars": str(jar)}, "rapids").device == "cuda"
    assert SparkEngine(LOCAL, {}, "auto").device == "cpu"


def test_auto_goes_on_and_says_so(driver: Any, caplog: pytest.LogCaptureFixture) -> None:
    driver(None)
    conf = {"spark.executor.memory": "1g"}
    with caplog.at_level(logging.WARNING):
        assert with_gpu("auto", LOCAL, conf) == conf
    assert "without a GPU" in caplog.text
    assert "nvidia-smi" in caplog.text
    assert with_gpu("none", LOCAL, conf) == conf


def test_a_connect_server_has_its_own_plugins() -> None:
    with pytest.raises(EngineError, match="Connect server has to be started with"):
        with_gpu("rapids", "sc://127.0.0.1:15002", {})


def test_a_run_without_its_gpu_ends_before_anything_is_scored(
    deployment: Path, cli: Any, driver: Any
) -> None:
    driver(None)
    deployment.write_text(deployment.read_text().replace("kind: local", "kind: spark, gpu: rapids"))
    done = cli("run", deployment, "--partition", "2024-03-02")
    assert done.code == 3
    assert "engine.gpu: rapids" in done.err
    assert "nvidia-smi" in done.err
    assert not (deployment.parents[1] / "scores" / "churn").exists()
