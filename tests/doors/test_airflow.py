"""Airflow's door: the DAG file parses, and `dag.test()` scores a partition for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from airflow_runs import airflow, environment
from tests_support import Result, move_alias

from batchdeploy.core.deployment import PartitionSpec
from batchdeploy.errors import PartitionError

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite of its own."""
    home = tmp_path_factory.mktemp("airflow")
    subprocess.run(["airflow", "db", "migrate"], env=environment(home), check=True, capture_output=True)
    return home


def with_dag(project: Path, code: str = 'dag = ScoringDag("churn.yaml")') -> Path:
    text = f"from batchdeploy.airflow import *\n\n{code}\n"
    (project / "dags" / "churn.py").write_text(text, encoding="utf-8")
    return project / "dags"


def test_dag_test_scores_a_partition_and_the_next_one_finds_it_identical(
    project: Path, airflow_home: Path
) -> None:
    dags = with_dag(project)
    assert "PARSED churn tests" in airflow(airflow_home, dags, "parse")
    out = airflow(airflow_home, dags, '{"partition": "2024-03-02"}')
    steps = ("plan", "validate", "score", "drift", "publish")
    assert all(f'"{step}": "success"' in out for step in steps), out[-2000:]
    assert len(pd.read_parquet(project / "scores" / "churn")) == 200
    assert "scored 200 of 200 rows" in out
    assert "publish took " in out
    again = airflow(airflow_home, dags, '{"partition": "2024-03-02"}')
    assert all(f'"{step}": "skipped"' in again for step in steps), again[-2000:]
    assert "is identical to run" in again


def test_one_task_does_the_whole_run_with_the_same_records(project: Path, airflow_home: Path) -> None:
    dags = with_dag(project, 'dag = ScoringDag("churn.yaml", tasks="one")')
    out = airflow(airflow_home, dags, '{"partition": "2024-03-02"}')
    assert '{"run": "success"}' in out, out[-2000:]
    assert len(pd.read_parquet(project / "scores" / "churn")) == 200
    runs = project / "scores" / "churn.batchdeploy" / "runs" / "date=2024-03-02"
    (run,) = (folder for folder in runs.iterdir() if folder.is_dir())
    names = {"plan.json", "check.json", "scored.json", "drift.json", "manifest.json", "report.html"}
    assert names <= {file.name for file in run.iterdir()}
    again = airflow(airflow_home, dags, '{"partition": "2024-03-02"}')
    assert '{"run": "skipped"}' in again, again[-2000:]
    suite = project / "expectations" / "customers.json"
    suite.write_text(suite.read_text().replace('"max_value": 120', '"max_value": 20'))
    refused = airflow(airflow_home, dags, '{"partition": "2024-03-03"}')
    assert '{"run": "failed"}' in refused, refused[-2000:]
    assert "clear run and what follows it; the tab Report has the evidence" in refused
    missing = airflow(airflow_home, dags, '{"partition": "2031-01-01", "on_missing": "skip"}')
    assert '{"run": "skipped"}' in missing, missing[-2000:]


def test_a_refusal_fails_its_task_once_and_publishes_nothing(project: Path, airflow_home: Path) -> None:
    suite = project / "expectations" / "customers.json"
    suite.write_text(suite.read_text().replace('"max_value": 120', '"max_value": 20'))
    told = project / "told.json"
    code = (
        "import json, pathlib\n\n"
        "def tell(context):\n"
        f"    pathlib.Path({str(told)!r}).write_text(json.dumps(context['refusal']))\n\n"
        'dag = ScoringDag("churn.yaml", default_args={"on_failure_callback": GateRefusal(tell)})'
    )
    out = airflow(airflow_home, with_dag(project, code), '{"partition": "2024-03-02"}')
    assert '"validate": "failed"' in out
    assert '"publish": "upstream_failed"' in out
    assert "failed expectation in data/customers/date=2024-03-02" in out
    assert not (project / "scores" / "churn").exists()
    refusal = json.loads(told.read_text())
    assert refusal["task"] == "validate"
    assert refusal["partition"] == "2024-03-02"
    assert "1 failed expectation in data/customers/date=2024-03-02" in refusal["reason"]
    assert "\n" not in refusal["reason"]
    assert refusal["report"].endswith("/plugin/batchdeploy-report")


def test_missing_rows_are_skipped_where_the_deployment_says_so(project: Path, airflow_home: Path) -> None:
    dags = with_dag(project, 'dag = ScoringDag("churn.yaml", params={"on_missing": "skip"})')
    out = airflow(airflow_home, dags, '{"partition": "2031-01-01"}')
    assert '"publish": "skipped"' in out
    assert "no rows yet for 2031-01-01 (on_missing: skip)" in out


def test_a_group_and_a_single_operator_in_somebodys_own_dag(project: Path, airflow_home: Path) -> None:
    text = (project / "dags" / "churn.yaml").read_text()
    other = text.replace("name: churn\n", "name: other\n").replace("scores/churn", "scores/other")
    (project / "dags" / "other.yaml").write_text(other)
    code = (
        "from airflow.sdk import DAG\n\n"
        'with DAG("own", schedule=None, params=scoring_params("churn.yaml")) as dag:\n'
        '    group = ScoringTaskGroup("churn.yaml")\n'
        '    group >> RunOperator(task_id="other", deployment="other.yaml", trigger_rule="none_failed")'
    )
    out = airflow(airflow_home, with_dag(project, code), '{"partition": "2024-03-02"}')
    assert '"churn.publish": "success"' in out
    assert '"other": "success"' in out
    assert len(pd.read_parquet(project / "scores" / "other")) == 200


def test_an_operator_rolls_back_a_partition_and_tidies_the_table(
    project: Path, airflow_home: Path, deployment: Path, cli: Callable[..., Result]
) -> None:
    day = "2024-03-02"
    first = cli("run", deployment, "--partition", day, "--json").json["manifest"]["run_id"]
    move_alias(project, "champion", 2)
    second = cli("run", deployment, "--partition", day, "--json").json["manifest"]["run_id"]
    dags = with_dag(project, 'back, tidy = RollbackDag("churn.yaml"), MaintenanceDag("churn.yaml")')
    out = airflow(airflow_home, dags, json.dumps({"partition": day}), "churn-rollback")
    assert '"rollback": "success"' in out, out[-2000:]
    assert f"{day}: run {first} is visible again, in place of {second}" in out
    assert cli("status", deployment, "--json").json["partitions"][1]["run"] == first
    other = airflow(airflow_home, dags, json.dumps({"partition": day, "to": "f" * 16}), "churn-rollback")
    assert '"rollback": "failed"' in other
    assert f"no earlier run to go back to, got {'f' * 16}. Hint: kept are: {second}" in other
    out = airflow(airflow_home, dags, "{}", "churn-maintenance")
    assert '"recover": "success"' in out
    assert '"collect_garbage": "success"' in out
    assert "nothing to do" in out


HELPERS = """
from airflow.sdk import DAG
from batchdeploy.airflow import RunOperator, ScoringDag, scoring_params

def one(name):
    return ScoringDag(name)

def many(names):
    with DAG("many", schedule=None, params=scoring_params(names[0])) as dag:
        RunOperator(task_id="first", deployment=names[0])
        RunOperator.partial(task_id="all").expand(deployment=names)
    return dag
"""


@pytest.mark.parametrize("by_airflow", [True, False], ids=["parsed by Airflow", "run by Python"])
def test_deployments_are_found_beside_the_dag_file_whoever_calls(
    project: Path, airflow_home: Path, by_airflow: bool
) -> None:
    helpers = project / "include" / "makers.py"
    helpers.parent.mkdir()
    helpers.write_text(HELPERS)
    dags = with_dag(
        project,
        f"import sys\n\nsys.path.append({str(helpers.parent)!r})\n"
        'from makers import many, one\n\nsingle, dag = one("churn.yaml"), many(["churn.yaml"])\n'
        'if __name__ == "__main__":\n    print("FILES", single.get_task("plan").file, single.fileloc)\n'
        '    conf = {"partition": "2031-01-01", "on_missing": "skip"}\n'
        "    run = dag.test(logical_date=None, run_conf=conf)\n"
        '    print("STATES", [(t.task_id, t.map_index, str(t.state)) for t in run.get_task_instances()])',
    )
    if by_airflow:
        assert (
            f"PARSED churn tests ['drift', 'plan', 'publish', 'score', 'validate'] {dags / 'churn.py'}"
            in (airflow(airflow_home, dags, "parse", "churn"))
        )
        conf = '{"partition": "2031-01-01", "on_missing": "skip"}'
        assert '"all": "skipped"' in airflow(airflow_home, dags, conf, "many")
        return
    command = [sys.executable, str(dags / "churn.py")]
    done = subprocess.run(
        command,
        env=environment(airflow_home, dags),
        cwd=airflow_home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"FILES {dags / 'churn.yaml'} {dags / 'churn.py'}" in done.stdout, done.stderr[-2000:]
    assert "('all', 0, 'skipped')" in done.stdout


def test_airflow_needs_only_the_light_core_where_tasks_run_by_another_python(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    light = tmp_path_factory.mktemp("light")
    core = ["filelock", "jinja2", "pydantic", "rich", "ruamel.yaml", "typer", "apache-airflow", "croniter"]
    install = ["uv", "pip", "install", "--quiet", "--python", str(light / "venv")]
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(light / "venv")], check=True)
    subprocess.run([*install, "--constraint", str(REPOSITORY / "constraints.txt"), *core], check=True)
    subprocess.run([*install, "--no-deps", str(REPOSITORY)], check=True)
    python = str(light / "venv" / "bin" / "python")
    heavy = "pyspark mlflow great_expectations dvc pandas pyarrow sklearn"
    probe = f"import importlib.util as u; print([n for n in {heavy.split()!r} if u.find_spec(n)])"
    found = subprocess.run([python, "-c", probe], check=True, capture_output=True, text=True, cwd=light)
    assert found.stdout.strip() == "[]"
    home = light / "home"
    migrate = [python, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=environment(home), check=True, capture_output=True)
    deployment = project / "dags" / "churn.yaml"
    deployment.write_text(deployment.read_text() + f"airflow: {{python: {sys.executable}}}\n")
    dags = with_dag(project)
    out = airflow(home, dags, '{"partition": "2024-03-02"}', python=python)
    assert '"publish": "success"' in out, out[-3000:]
    assert len(pd.read_parquet(project / "scores" / "churn")) == 200


def test_a_run_without_a_partition_says_what_to_type(project: Path, airflow_home: Path) -> None:
    code = (
        "def tell(context):\n    print('TOLD')\n\n"
        'dag = ScoringDag("churn.yaml", default_args={"on_failure_callback": GateRefusal(tell)})'
    )
    out = airflow(airflow_home, with_dag(project, code), "{}")
    assert '"plan": "failed"' in out
    assert "trigger it with a partition key" in out
    assert "TOLD" not in out, "a wrong request is no refused gate"


LOGICAL = """
import sys, json, warnings
warnings.simplefilter("ignore")
from datetime import datetime
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
dag = bag.dags["churn"]
for date, conf, pattern in json.loads(sys.argv[2]):
    run = dag.test(logical_date=datetime.fromisoformat(date), run_conf=conf, mark_success_pattern=pattern)
    states = {t.task_id: str(t.state) for t in run.get_task_instances()}
    print("RAN", json.dumps([str(run.state), states, run.partition_key]))
"""


def test_a_logical_date_is_never_green_with_nothing_done(project: Path, airflow_home: Path) -> None:
    deployment = project / "dags" / "churn.yaml"
    bounded = "{column: date, timezone: America/New_York, start: 2024-03-01, end: 2024-03-04}"
    deployment.write_text(deployment.read_text().replace("{column: date}", bounded))
    asked = [
        ("2026-01-01T00:00:00+00:00", {}, None),
        ("2013-01-01T00:00:00+00:00", {}, None),
        ("2024-03-02T00:00:00+00:00", {}, "(?!plan).*"),
        # NOTE: must come last, because dag.test() leaves a run's config in the DAG's params.
        ("2026-01-02T00:00:00+00:00", {"partition": "2024-03-03"}, None),
        ("2026-01-03T00:00:00+00:00", {"Partition": "2024-03-03", "dat": "x"}, None),
    ]
    command = [sys.executable, "-c", LOGICAL, str(with_dag(project)), json.dumps(asked)]
    done = subprocess.run(
        command,
        env=environment(airflow_home, project / "dags"),
        cwd=airflow_home,
        capture_output=True,
        text=True,
        check=False,
    )
    out = done.stdout + done.stderr
    ran = [json.loads(line.removeprefix("RAN ")) for line in out.splitlines() if line.startswith("RAN ")]
    assert [state for state, _, _ in ran] == ["failed", "failed", "success", "success", "failed"], out[-3000:]
    assert ran[0][1]["plan"] == ran[1][1]["plan"] == ran[4][1]["plan"] == "failed"
    assert "its logical date, 2026-01-01, means 2026-01-01, after data.partition.end, got 2024-03-04" in out
    assert "its logical date, 2013-01-01, means 2013-01-01, before data.partition.start" in out
    assert out.count('or with the config {"partition": "2024-03-01"}') >= 2
    # A date that a person gave is that date, and not the evening before in New York.
    assert "partition 2024-03-02 (its logical date, 2024-03-02); model policy" in out
    assert {folder.name for folder in (project / "scores" / "churn").iterdir()} == {"date=2024-03-03"}
    assert "2 problems in the config of this DAG run: Partition: unknown key; did you mean partition?" in out
    assert "dat: unknown key. Hint: keys are " in out


SPEC = PartitionSpec(column="date", timezone="Europe/Zurich")
WEST = PartitionSpec(column="date", timezone="America/New_York", run_offset=-1)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"partition_key": "2013-02-01", "params": {"partition": "x"}}, "2013-02-01"),
        ({"dag_run": SimpleNamespace(partition_key="2013-02-02")}, "2013-02-02"),
        ({"params": {"partition": "2013-02-03"}, "logical_date": None}, "2013-02-03"),
        ({"logical_date": datetime(2013, 2, 3, 23, 30, tzinfo=ZoneInfo("UTC"))}, "2013-02-04"),
        (
            {"triggering_asset_events": {"a": [SimpleNamespace(extra={"partition": "2013-02-05"})]}},
            "2013-02-05",
        ),
        ({"params": {"partition": "latest"}}, "latest"),
    ],
)
def test_one_answer_to_which_partition(context: dict[str, object], expected: str) -> None:
    from batchdeploy.airflow import resolve_partition

    assert resolve_partition(context, SPEC) == expected


@pytest.mark.parametrize(
    ("logical", "kind", "expected"),
    [
        # A date alone: that date's run, whose partition is the one before.
        ("2013-02-08T00:00+00:00", "manual", "2013-02-07"),
        # A plain schedule's moment, seven in the evening of the day before in New York.
        ("2013-02-08T00:00+00:00", "scheduled", "2013-02-06"),
        ("2013-02-08T11:00+00:00", "scheduled", "2013-02-07"),
        ("2013-02-08T04:59+00:00", "manual", "2013-02-06"),
        ("2013-02-08T05:00+00:00", "manual", "2013-02-07"),
    ],
)
def test_a_logical_date_obeys_zone_and_offset(logical: str, kind: str, expected: str) -> None:
    from airflow.sdk.api.datamodels._generated import DagRunType

    from batchdeploy.airflow import resolve_partition

    context = {
        "logical_date": datetime.fromisoformat(logical),
        "dag_run": SimpleNamespace(run_type=DagRunType(kind), partition_key=None),
    }
    assert resolve_partition(context, WEST) == expected


def test_no_partition_is_an_error() -> None:
    from batchdeploy.airflow import resolve_partition

    with pytest.raises(PartitionError, match="says no partition of 'date'"):
        resolve_partition({"params": {"partition": None}}, SPEC)


def test_a_partition_written_otherwise_is_an_error() -> None:
    from batchdeploy.airflow import resolve_partition

    with pytest.raises(PartitionError, match="is not written as '%Y-%m-%d', got 3 Feb"):
        resolve_partition({"params": {"partition": "3 Feb"}}, SPEC)
    for context in ({"params": {"partition": "2013-8-12"}}, {"partition_key": "2013-8-12"}):
        with pytest.raises(PartitionError, match=r"as '%Y-%m-%d', which is 2013-08-12, got 2013-8-12"):
            resolve_partition(context, SPEC)


@pytest.mark.parametrize(
    ("params", "kind", "policy", "why"),
    [
        ({"model": "3"}, "backfill", "3", "the param of this DAG run"),
        ({"model": "challenger"}, "manual", "challenger", "the param of this DAG run"),
        ({}, "backfill", "2", "backfill.model of the deployment"),
        ({}, "scheduled", None, "the deployment says alias champion"),
    ],
)
def test_which_model_a_run_takes_and_why(
    params: dict[str, str], kind: str, policy: str | None, why: str
) -> None:
    from airflow.sdk.api.datamodels._generated import DagRunType

    from batchdeploy.airflow.operators import model_policy
    from batchdeploy.core.deployment import BackfillSpec, DataRef, Deployment, ModelRef, OutputRef

    spec = Deployment(
        name="d",
        model=ModelRef(name="m"),
        data=DataRef(path="data", partition=SPEC, keys=("id",)),
        output=OutputRef(path="scores", columns={"y": "double"}),
        backfill=BackfillSpec(model=2),
    )
    # NOTE: the enumeration that a task gets, not the scheduler's of the same name, which prints its value.
    context = {"params": params, "dag_run": SimpleNamespace(run_type=DagRunType(kind))}
    found, reason = model_policy(context, spec)
    assert found == policy
    assert why in reason


PROBE = """
import sys, json, warnings
warnings.simplefilter("ignore")
from datetime import datetime, timezone
from airflow.timetables.trigger import CronPartitionTimetable
cron, zone, key_format, first, last = sys.argv[1:]
table = CronPartitionTimetable(cron, timezone=zone, key_format=key_format)
bounds = [datetime.fromisoformat(text).replace(tzinfo=timezone.utc) for text in (first, last)]
infos = table.iter_partition_dagrun_infos(earliest=bounds[0], latest=bounds[1])
print("KEYS", json.dumps([info.partition_key for info in infos]))
"""


@pytest.mark.parametrize(
    ("grain", "zone", "first", "last", "keys"),
    [
        ("hourly", "UTC", "2024-10-27", "2024-10-27 23:59", [f"2024-10-27T{h:02d}" for h in range(24)]),
        (
            "daily",
            "Europe/Zurich",
            "2024-03-30",
            "2024-04-01 23:59",
            ["2024-03-30", "2024-03-31", "2024-04-01"],
        ),
        (
            "daily",
            "Europe/Zurich",
            "2024-10-26",
            "2024-10-28 23:59",
            ["2024-10-26", "2024-10-27", "2024-10-28"],
        ),
        (
            "weekly",
            "America/New_York",
            "2013-03-04",
            "2013-03-18 23:59",
            ["2013-03-04", "2013-03-11", "2013-03-18"],
        ),
        ("monthly", "America/New_York", "2013-02-01", "2013-04-30", ["2013-02", "2013-03", "2013-04"]),
    ],
)
def test_a_backfill_over_a_change_of_clocks_has_every_partition_once(
    airflow_home: Path, grain: str, zone: str, first: str, last: str, keys: list[str]
) -> None:
    spec = PartitionSpec(column="date", grain=grain, timezone=zone)  # type: ignore[arg-type]
    command = [sys.executable, "-c", PROBE, spec.cron, zone, spec.format, first, last]
    done = subprocess.run(
        command, env=environment(airflow_home), cwd=airflow_home, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.split("KEYS")[1]) == keys


ARGUMENTS = """
import sys, json, warnings
warnings.simplefilter("ignore")
import runpy
dag = runpy.run_path(sys.argv[1])["dag"]
params = {name: dag.params.get_param(name).schema for name in dag.params}
texts = {name: dag.params.get_param(name).description for name in dag.params}
print("DAG", json.dumps({
    "texts": texts,
    "start": str(dag.timetable._first), "end": str(dag.timetable._last), "bound": dag.end_date,
    "tags": sorted(dag.tags), "doc": dag.doc_md,
    "params": params, "offset": dag.timetable._run_offset, "id": dag.dag_id,
    "retries": [(t.retries, t.retry_delay.total_seconds(), t.retry_exponential_backoff) for t in dag.tasks],
    "limits": {t.task_id: t.max_active_tis_per_dag for t in dag.tasks}, "owner": dag.tasks[0].owner,
    "outlets": {t.task_id: [a.name for a in t.outlets] for t in dag.tasks},
    "inlets": {t.task_id: [a.name for a in t.inlets] for t in dag.tasks},
}))
"""


def test_what_the_deployment_says_becomes_the_dag() -> None:
    file = str(REPOSITORY / "dags" / "hours.py")
    done = subprocess.run(
        [sys.executable, "-c", ARGUMENTS, file], capture_output=True, text=True, check=True, env=os.environ
    )
    dag = json.loads(done.stdout.split("DAG", 1)[1])
    assert dag["id"] == "departure-delay"
    assert dag["owner"] == "flights-oncall"
    assert dag["offset"] == -1
    assert dag["retries"] == [[3, 30.0, 2.0]] * 5
    assert dag["start"] == "2013-04-01 00:00:00-04:00"
    assert dag["end"] == "2013-12-30 23:59:59-05:00"
    assert dag["bound"] is None, "a run with a later logical date would have no tasks, and be green"
    assert dag["tags"] == ["batchdeploy", "local"]
    assert "run_offset: -1" in dag["doc"]
    assert "--dag-id departure-delay --from-date 2013-04-01 --to-date 2013-12-30`" in dag["doc"]
    assert set(dag["params"]) == {"partition", "model", "on_missing", "repeat", "evolve"}
    assert dag["params"]["on_missing"]["enum"] == [None, "fail", "skip", "wait"]
    assert dag["params"]["model"]["title"] == "Model (departure-delay)"
    # The form for backfills shows these, and drops them; Airflow renders this only without a description.
    for name in ("model", "on_missing", "repeat", "evolve"):
        assert "**A BACKFILL DROPS WHAT IS TYPED HERE**" in dag["params"][name]["description_md"]
        assert dag["texts"][name] is None
    assert "`backfill: {model: ...}` of the deployment" in dag["params"]["model"]["description_md"]
    assert dag["limits"]["score"] == dag["limits"]["validate"] == 1
    assert dag["outlets"]["publish"] == ["departure-delay/scores"]
    assert dag["outlets"]["drift"] == ["departure-delay/drift"]
    assert dag["inlets"]["plan"] == ["departure-delay/model"]


ERRORS = """
import sys
from airflow.dag_processing.dagbag import DagBag
print(DagBag(sys.argv[1]).import_errors)
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("partition: {column: date}", 'partition: {column: date, schedule: "99 6 * * *"}'),
            "the minute must be between 0 and 59",
        ),
        (("engine: {kind: local}", "engine: {kind: loco}"), "line 14, column 10"),
        (("keys: [customer_id]", "keys: [customer_id"), "line 8, column 13"),
    ],
)
def test_a_broken_deployment_is_its_dag_files_import_error(
    project: Path, airflow_home: Path, change: tuple[str, str], said: str
) -> None:
    deployment = project / "dags" / "churn.yaml"
    text = deployment.read_text()
    assert change[0] in text
    deployment.write_text(text.replace(*change))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ERRORS, str(with_dag(project))],
        env=environment(airflow_home),
        cwd=airflow_home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said in done.stdout
    assert "churn.yaml" in done.stdout
