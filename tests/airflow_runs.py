"""`dag.test()` in a fresh process, over an Airflow home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RUN = """
import sys, json, warnings
warnings.simplefilter("ignore")
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
dag = bag.dags[sys.argv[3]] if len(sys.argv) > 3 else next(iter(bag.dags.values()))
if sys.argv[2] != "parse":
    run = dag.test(logical_date=None, run_conf=json.loads(sys.argv[2]), mark_success_pattern="approve")
    print("STATES", json.dumps({t.task_id: str(t.state) for t in run.get_task_instances()}))
else:
    print("PARSED", dag.dag_id, dag.owner, sorted(dag.task_ids), dag.fileloc)
"""


def environment(home: Path, dags: Path | None = None) -> dict[str, str]:
    return os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags or home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
    }


def airflow(home: Path, dags: Path, argument: str, *dag: str, python: str = sys.executable) -> str:
    """What the run printed; of the only DAG there is, or of the one named."""
    done = subprocess.run(
        [python, "-c", RUN, str(dags), argument, *dag],
        env=environment(home, dags),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def task_context(dag: Any, partition: str) -> dict[str, Any]:
    """What a step reads of Airflow's context, for a task that runs in this process."""
    ti = SimpleNamespace(
        dag_id=dag.dag_id,
        run_id="manual",
        try_number=1,
        xcom_push=lambda key, value: None,
        get_first_reschedule_date=lambda _context: None,
    )
    run = SimpleNamespace(conf={}, run_type="manual", partition_key=partition, start_date=None)
    events: Any = defaultdict(SimpleNamespace)
    context = {"ti": ti, "dag": dag, "dag_run": run, "params": {}, "outlet_events": events}
    return context | {"partition_key": partition}
