"""Kills of real Spark runs: the driver at any moment, and executors and Python workers of a real cluster."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyspark
from namespaces import Machine

from faults.projects import (
    DAYS,
    first_scores,
    leftovers,
    make_project,
    same_scores,
    scores_in,
    seconds_until_gone,
    start,
)

SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
LONGEST_RUN = 20.0


def driver_kills(home: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """SIGKILLs `batchdeploy run` on Spark at random moments until so many were hit; looks after each.

    Only Python is killed; the JVM and its workers have to notice and go by themselves.
    """
    deployment = make_project(home, engine='{kind: spark, master: "local[2]"}', extra=KEEP_NOTHING)
    root = home / "scores" / "churn"
    began = time.monotonic()
    days = DAYS[: min(kills, 2)]
    expected = first_scores(deployment, days)
    seconds = (time.monotonic() - began) / len(days)
    random_ = random.Random(seed)
    counts, found, gone = Counter[str](), [], []
    while counts["killed"] < kills:
        day = random_.choice(days)
        process = start(deployment, day, "--force")
        # Mostly in the second half, when the JVM runs and files are written.
        wait = seconds * random_.triangular(0.1, 1.0, 0.75)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        counts["runs"] += 1
        counts["killed"] += process.returncode == -signal.SIGKILL
        left = seconds_until_gone(process.pid, most=10)
        gone.append(left if left is not None else 10.0)
        if left is None:
            found.append("an orphan process")
        if not same_scores(scores_in(root / f"date={day}"), expected[day]):
            found.append(f"run {counts['runs']}: {day} shows other scores")
    process = start(deployment, DAYS[2])
    said = process.communicate()
    if process.returncode != 0:
        found.append(f"a plain run afterwards: {said}")
    if left_over := leftovers(root.with_name("churn.batchdeploy")):
        found.append(f"leftovers: {left_over}")
    return {"kills": counts["killed"], "runs": counts["runs"], "seed": seed} | {
        "seconds until the last process was gone, at most": round(max(gone), 1),
        "violations": found,
    }


CLUSTER_ROWS = 120_000
KILLS_A_JOB = 3
KEEP_NOTHING = "publish: {reader_seconds: 0}\n"


def cluster_kills(home: Path, *, kills: int, seed: int) -> dict[str, Any]:
    """Kills executors and Python workers of a standalone cluster; every job must come through.

    Up to three kills a job, a few seconds apart: a task that is lost four times would rightly end the job.
    """
    random_ = random.Random(seed)
    counts, found = Counter[str](), []
    with cluster(home / "cluster") as master:
        conf = '{spark.executor.memory: 1g, spark.speculation: "true", spark.driver.host: 127.0.0.1}'
        engine = f'{{kind: spark, master: "{master}", conf: {conf}}}'
        deployment = make_project(
            home / "project", engine=engine, extra=KEEP_NOTHING, rows=CLUSTER_ROWS, files=24
        )
        text = deployment.read_text().replace("expectations: expectations/customers.json\n", "")
        deployment.write_text(text)
        root = home / "project" / "scores" / "churn"
        expected = first_scores(deployment, DAYS[:1])[DAYS[0]]
        assert len(expected) == CLUSTER_ROWS
        while counts["executors killed"] + counts["Python workers killed"] < kills:
            process = start(deployment, DAYS[0], "--force")
            _wait_for_writing(process, root.with_name("churn.batchdeploy") / "staging")
            for _ in range(KILLS_A_JOB):
                time.sleep(random_.random() * 2)
                if process.poll() is None and (what := _kill_one(random_)):
                    counts[what] += 1
            _, err = process.communicate()
            counts["jobs"] += 1
            if process.returncode != 0:
                found.append(f"job {counts['jobs']} ended with {process.returncode}: {err[-300:]}")
            if not same_scores(scores_in(root / f"date={DAYS[0]}"), expected):
                found.append(f"job {counts['jobs']}: other scores")
        if left_over := leftovers(root.with_name("churn.batchdeploy")):
            found.append(f"leftovers: {left_over}")
    return {**counts, "seed": seed, "rows": len(expected), "violations": found}


def _wait_for_writing(process: subprocess.Popen[str], staging: Path) -> None:
    while process.poll() is None and not any(staging.glob("*/scored/*.parquet")):
        time.sleep(0.01)


def _kill_one(random_: random.Random) -> str | None:
    """Kills an executor, or one of the Python workers below one."""
    executors = _named("CoarseGrainedExecutorBackend")
    workers = [child for executor in executors for child in executor.children(recursive=True)]
    for what, victims in random_.sample(
        [("executors killed", executors), ("Python workers killed", workers)], 2
    ):
        if victims:
            random_.choice(victims).send_signal(signal.SIGKILL)
            return what
    return None


def _named(word: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if word in " ".join(process.info["cmdline"] or ()) and process.info["cmdline"][0].endswith("java"):
            found.append(process)
    return found


@contextmanager
def cluster(
    home: Path,
    *,
    workers: int = 2,
    machines: Sequence[Machine] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """A standalone master and its workers on loopback, from the pip package's own scripts; gives its URL.

    Args:
        home: a new folder for logs and, without machines, for what the workers write.
        workers: how many there are.
        machines: where to start the master and each worker; by default here.
        variables: environment variables of all of them, beside this process's own.
    """
    home.mkdir(parents=True)
    port = _free_port()
    environment = os.environ | {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(machines[0].home / "work" if machines else home),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_NO_DAEMONIZE": "1",
        **(variables or {}),
    }
    url = f"spark://127.0.0.1:{port}"
    # NOTE: executors on one host read each other's shuffle files from its disk, so each machine is a host.
    hosts = [f"127.0.0.{number + 1 if machines else 1}" for number in range(workers + 1)]
    common = ["--webui-port", "0", "--host"]
    commands = [["org.apache.spark.deploy.master.Master", "--port", str(port), *common, hosts[0]]]
    worker = ["org.apache.spark.deploy.worker.Worker", "--cores", "1", "--memory", "1500m", url, *common]
    commands += [[*worker, host] for host in hosts[1:]]
    started = []
    try:
        for number, words in enumerate(commands):
            command = [str(SPARK_CLASS), *words]
            if machines:
                command = machines[number].command(*command)
            with (home / f"{number}.log").open("w") as log:
                started.append(
                    subprocess.Popen(
                        command,
                        env=environment | {"SPARK_LOCAL_IP": hosts[number]},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        _wait_for(home / "0.log", "Registering worker", times=workers)
        yield url
    finally:
        for process in started:
            for signal_ in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, signal_)
                    process.wait(10)
                    break
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
        for process in started:
            seconds_until_gone(process.pid, most=10)
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(log: Path, words: str, *, times: int) -> None:
    end = time.monotonic() + 60
    while log.read_text().count(words) < times:
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
