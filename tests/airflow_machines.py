"""An executor for Airflow's tests: each task starts on the next machine, by what a pod on Kubernetes runs."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads import ExecuteTask

# How to start a command on each machine: a JSON list of command lines. And where to note who ran what.
MACHINES, NOTES = "TEST_MACHINES", "TEST_MACHINES_NOTES"


class MachineExecutor(BaseExecutor):
    """Starts a process for each task; it learns what to do from its arguments and Airflow's API alone."""

    is_local = True

    def start(self) -> None:
        """Reads which machines there are."""
        self._machines = itertools.cycle(enumerate(json.loads(os.environ[MACHINES])))
        self._processes: dict[Any, subprocess.Popen[bytes]] = {}

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        for workload in workload_items:
            assert isinstance(workload, ExecuteTask), workload
            self.queued_tasks.pop(workload.key)
            self.running.add(workload.key)
            number, machine = next(self._machines)
            task = ["-m", "airflow.sdk.execution_time.execute_workload"]
            command = [*machine, sys.executable, *task, "--json-string", workload.model_dump_json()]
            folder = Path(os.environ[NOTES])
            with (folder / f"{workload.ti.task_id}.{number}.log").open("ab") as log:
                process = subprocess.Popen(
                    command, env=_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._processes[workload.key] = process
            with (folder / "notes.jsonl").open("a") as notes:
                note = {"dag": workload.ti.dag_id, "run": workload.ti.run_id, "task": workload.ti.task_id}
                notes.write(json.dumps(note | {"machine": number}) + "\n")

    def sync(self) -> None:
        """Tells which tasks have ended."""
        for key, code in [*_ended(self._processes)]:
            del self._processes[key]
            if code:
                self.fail(key)
            else:
                self.success(key)

    def end(self) -> None:
        """Waits for all tasks."""
        for process in self._processes.values():
            process.wait()
        self.sync()

    def terminate(self) -> None:
        """Ends all tasks."""
        for process in self._processes.values():
            process.terminate()


def _ended(processes: dict[Any, subprocess.Popen[bytes]]) -> Iterator[tuple[Any, int]]:
    for key, process in processes.items():
        if (code := process.poll()) is not None:
            yield key, code


def _environment() -> dict[str, str]:
    """Without what the scheduler alone may know: the database, the secret that signs tokens."""
    private = ("AIRFLOW__DATABASE__", "AIRFLOW__API_AUTH__", "TEST_MACHINES")
    return {name: text for name, text in os.environ.items() if not name.startswith(private)}
