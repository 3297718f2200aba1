"""The page behind a DAG run's tab, over Airflow's own tables in memory: what it shows and never reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import write
from object_stores import Bucket, s3_bucket
from store_proxy import store_proxy

from batchdeploy.core.comparison import Comparison, OutputDifference
from batchdeploy.core.request import Decision
from batchdeploy.documents import to_json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]
RUN = "a" * 16
DAY = "date=2024-03-02"
Page = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def tables() -> Iterator[Any]:
    """Airflow's tables in memory."""
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    import_all_models()
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(tables: Any) -> Iterator[Session]:
    """A session whose rows are gone after the test."""
    from sqlalchemy.orm import Session

    with Session(tables) as opened:
        yield opened
        opened.rollback()


@pytest.fixture
def page(session: Session) -> Page:
    """Status and text of the page for a DAG run, past Airflow's own guard."""
    from airflow.api_fastapi.common.db.common import _get_session
    from starlette.testclient import TestClient

    from batchdeploy.airflow.plugin import create_app

    app = create_app()
    (guard,) = [
        d.dependency for d in app.routes[-1].dependencies if "requires_access" in d.dependency.__qualname__
    ]
    app.dependency_overrides = {_get_session: lambda: session, guard: lambda: None}

    def get(dag_id: str = "churn", run_id: str = "r", **query: Any) -> tuple[int, str]:
        answer = TestClient(app).get("/report", params={"dag_id": dag_id, "run_id": run_id, **query})
        return answer.status_code, answer.text

    return get


@pytest.fixture
def record(session: Session) -> Callable[..., None]:
    """Writes what Airflow has of a DAG run: the DAG's version, its tasks, and what they handed on."""
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
    from sqlalchemy import delete

    session.add(DagRun("churn", "r", run_type="manual", run_after=datetime(2026, 1, 1, tzinfo=UTC)))
    versions = iter(range(1, 9))

    def add(
        dag: Any,
        told: Mapping[str, Any],
        *,
        index: int = -1,
        key: str = "batchdeploy_run",
        states: Mapping[str, str] = {},
    ) -> None:
        data = DagSerialization.to_dict(dag)
        version = DagVersion(dag_id=dag.dag_id, version_number=next(versions), bundle_name="b")
        session.add(version)
        session.flush()
        model = SerializedDagModel(LazyDeserializedDAG(data=data))
        model.dag_version_id = version.id
        session.add(model)
        tasks = DagSerialization.from_dict(data).task_dict
        for place, (name, value) in enumerate(told.items()):
            at = datetime(2026, 1, 1, 0, 0, place, tzinfo=UTC)
            for kind in (TaskInstance, XComModel):
                session.execute(delete(kind).where(kind.task_id == name, kind.map_index == index))
            names = {"run_id": "r", "map_index": index}
            instance = TaskInstance(tasks[name], dag_version_id=version.id, **names)
            instance.state = states.get(name)
            session.add(instance)
            names |= {"dag_run_id": 1, "dag_id": dag.dag_id, "task_id": name, "key": key}
            session.add(XComModel(**names, value=value, timestamp=at))
        session.flush()

    return add


def scoring_dag(deployment: Path) -> Any:
    from batchdeploy.airflow import ScoringDag

    return ScoringDag(str(deployment))


def report_in(project: Path, text: str = "<p>ours", *, table: str = "churn") -> Path:
    """A run's folder with a report."""
    folder = project / "scores" / f"{table}.batchdeploy" / "runs" / DAY / RUN
    write(folder / "report.html", text)
    return folder


def test_the_page_is_the_report_of_a_run_of_this_dag(
    project: Path, deployment: Path, page: Page, record: Callable[..., None]
) -> None:
    folder = report_in(project)
    record(scoring_dag(deployment), {"plan": str(folder)})
    assert page() == (200, "<p>ours")


@pytest.fixture
def in_store(deployment: Path, s3_port: int, store_credentials: None) -> Bucket:
    """A bucket that the deployment publishes to, with its control folder and another one."""
    bucket = s3_bucket(s3_port)
    text = deployment.read_text(encoding="utf-8").replace("scores/churn", f"{bucket.uri}/churn")
    storage = f"storage: {{endpoint: '{bucket.storage.endpoint}', region: us-east-1}}\n"
    deployment.write_text(f"{text}publish: {{mode: pointer}}\n{storage}", encoding="utf-8")
    for table in ("churn", "salaries"):
        bucket.put(f"{table}.batchdeploy/runs/{DAY}/{RUN}/report.html", f"<p>of {table}".encode())
    bucket.put(f"churn.batchdeploy/quarantine/{DAY}/{RUN}/report.html", b"SECRET")
    return bucket


def test_the_page_is_read_from_the_store_of_this_dag(
    deployment: Path, page: Page, record: Callable[..., None], in_store: Bucket
) -> None:
    record(scoring_dag(deployment), {"plan": f"{in_store.uri}/churn.batchdeploy/runs/{DAY}/{RUN}"})
    assert page() == (200, "<p>of churn")


@pytest.mark.parametrize(
    "folder",
    [
        f"salaries.batchdeploy/runs/{DAY}/{RUN}",
        f"churn.batchdeploy/quarantine/{DAY}/{RUN}",
        f"churn.batchdeploy/runs/{DAY}/../../../salaries.batchdeploy/runs/{DAY}/{RUN}",
        f"churn.batchdeploy/runs/x=/../{RUN}",
    ],
)
def test_a_page_elsewhere_in_a_store_is_never_served(
    deployment: Path, page: Page, record: Callable[..., None], in_store: Bucket, folder: str
) -> None:
    record(scoring_dag(deployment), {"plan": f"{in_store.uri}/{folder}"})
    status, text = page()
    assert status == 200
    assert "of salaries" not in text
    assert "SECRET" not in text


def test_a_page_whose_store_fails_says_so(
    deployment: Path, page: Page, record: Callable[..., None], in_store: Bucket, s3_port: int
) -> None:
    folder = f"{in_store.uri}/churn.batchdeploy/runs/{DAY}/{RUN}"
    with store_proxy(s3_port) as proxy:
        text = deployment.read_text(encoding="utf-8")
        deployment.write_text(text.replace(f":{s3_port}", f":{proxy.port}"), encoding="utf-8")
        proxy.fault, proxy.body = 403, "<Error><Code>AccessDenied</Code></Error>"
        record(scoring_dag(deployment), {"plan": folder})
        status, shown = page()
    assert status == 200
    assert f"the report in {folder} cannot be read: the store refuses access (403" in shown
    assert "Nothing was published" not in shown


def beside(project: Path) -> Path:
    """Another deployment's run."""
    return report_in(project, "SECRET", table="salaries")


def forged(project: Path) -> Path:
    """A folder that looks like a run's, where everybody may write."""
    folder = project.parent / "tmp" / "churn.batchdeploy" / "runs" / DAY / RUN
    write(folder / "report.html", "SECRET")
    return folder


def climbing(project: Path) -> Path:
    other = beside(project)
    return report_in(project).parents[2] / "runs" / ".." / ".." / other.relative_to(project / "scores")


def linked_folder(project: Path) -> Path:
    other, ours = beside(project), report_in(project)
    (ours / "report.html").unlink()
    ours.rmdir()
    ours.symlink_to(other)
    return ours


def linked_file(project: Path) -> Path:
    other, ours = beside(project), report_in(project)
    (ours / "report.html").unlink()
    (ours / "report.html").symlink_to(other / "report.html")
    return ours


def hard_link(project: Path) -> Path:
    other, ours = beside(project), report_in(project)
    (ours / "report.html").unlink()
    os.link(other / "report.html", ours / "report.html")
    return ours


def pipe(project: Path) -> Path:
    ours = report_in(project)
    (ours / "report.html").unlink()
    os.mkfifo(ours / "report.html")
    return ours


def circle(project: Path) -> Path:
    ours = report_in(project)
    around = ours.with_name("b" * 16)
    around.symlink_to(around)
    return around


FOREIGN: list[Callable[[Path], Any]] = [
    beside, forged, climbing, linked_folder, linked_file, hard_link, pipe, circle,
    lambda project: f"{report_in(project)}\0",
    lambda project: f"{report_in(project)}/{'x/' * 4000}",
    lambda project: f"{report_in(project)}/{'x' * 300}",
    lambda project: {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [str(project)]},
    lambda _project: "[" * 100_000,
    lambda _project: 7,
    lambda _project: None,
    lambda _project: "",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: getattr(make, "__name__", ""))
def test_the_page_reads_nothing_that_is_not_a_run_of_this_dags_deployment(
    project: Path, deployment: Path, page: Page, record: Callable[..., None], make: Callable[[Path], Any]
) -> None:
    told = make(project)
    record(scoring_dag(deployment), {"plan": told if isinstance(told, dict | int | None) else str(told)})
    status, text = page()
    assert status == 200
    assert "SECRET" not in text
    assert "ours" not in text
    assert "No report yet" in text or "not shown" in text or "has no report" in text


def test_a_group_of_another_deployment_reads_its_own_runs_and_no_others(
    project: Path, deployment: Path, page: Page, record: Callable[..., None]
) -> None:
    from airflow.sdk import DAG

    from batchdeploy.airflow import RunOperator

    text = deployment.read_text(encoding="utf-8")
    other = text.replace("name: churn\n", "name: other\n").replace("scores/churn", "scores/other")
    write(deployment.with_name("other.yaml"), other)
    with DAG("churn", schedule=None) as dag:
        RunOperator(task_id="first", deployment=str(deployment))
        RunOperator(task_id="second", deployment=str(deployment.with_name("other.yaml")))
    ours, others = report_in(project), report_in(project, "<p>others", table="other")
    record(dag, {"first": str(others), "second": str(others)})
    assert page() == (200, "<p>others")
    record(dag, {"first": str(ours), "second": str(others)})
    status, listed = page()
    assert status == 200
    assert str(ours) in listed
    assert str(others) in listed
    assert page(number=1) == (200, "<p>others")
    assert "ours" not in page(number=9)[1].replace(str(ours), "")


def test_a_task_that_is_mapped_over_deployments_reads_theirs(
    project: Path, deployment: Path, page: Page, record: Callable[..., None]
) -> None:
    from airflow.sdk import DAG

    from batchdeploy.airflow import RunOperator

    dag = DAG("churn", schedule=None)
    RunOperator.partial(task_id="all", dag=dag).expand(deployment=[str(deployment), "none.yaml"])
    record(dag, {"all": str(report_in(project))}, index=0)
    assert page() == (200, "<p>ours")
    record(dag, {"all": str(beside(project))}, index=1)
    assert page(number=1)[1] != "SECRET"


@pytest.mark.parametrize("name", ["r\0", "r" * 3000, ""])
def test_a_run_that_cannot_be_is_not_found(page: Page, name: str) -> None:
    assert page(run_id=name)[0] == 404
    assert page(dag_id=name)[0] == 404


COMPARED = Comparison(
    deployment="churn",
    partition="2024-03-02",
    model="churn",
    alias="champion",
    champion=1,
    challenger=2,
    rows=200,
    champion_only=0,
    challenger_only=3,
    champion_drift="quiet",
    challenger_drift="drift",
    outputs=(
        OutputDifference(
            name="churn_probability",
            champion_mean=0.25,
            challenger_mean=0.5,
            mean_difference=0.25,
            max_difference=0.75,
            changed_share=0.5,
        ),
    ),
    compared_at="2026-01-01T00:00:00+00:00",
)
ADA = {"id": "7", "name": "<b>ada"}
ANSWERS: list[tuple[list[str] | None, dict[str, str], str]] = [
    (None, {}, "Compared; no decision was requested yet."),
    ([], {"approve": "awaiting_input"}, "Waiting for approval or rejection."),
    (
        ["Reject"],
        {"approve": "success", "promote": "failed"},
        "Rejected by &lt;b&gt;ada at 2026-01-02 03:04:05",
    ),
    (["Approve"], {"approve": "success", "promote": "success"}, "champion moved from version 1 to 2."),
    (["Approve"], {"approve": "success", "promote": "failed"}, "but champion was not moved."),
    (["Approve"], {"approve": "success", "promote": "running"}, "champion is about to be moved."),
    (None, {"approve": "success", "promote": "success"}, "because the approval was marked as success"),
]


@pytest.mark.parametrize(("answer", "states", "said"), ANSWERS, ids=[said for *_, said in ANSWERS])
def test_a_promotions_tab_shows_the_comparison_and_who_decided(
    project: Path,
    deployment: Path,
    session: Session,
    page: Page,
    record: Callable[..., None],
    answer: list[str] | None,
    states: dict[str, str],
    said: str,
) -> None:
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance

    from batchdeploy.airflow import PromotionDag

    dag = PromotionDag(str(deployment), dag_id="churn")
    file = project / "scores" / "churn.batchdeploy" / "comparisons" / DAY / "1-2-20260101.json"
    write(file, to_json(COMPARED))
    told = {"compare_models": str(file), "approve": "", "promote": ""}
    record(dag, told, key="batchdeploy_comparison", states=states)
    if answer is not None:
        asking = session.query(TaskInstance).filter_by(task_id="approve").one()
        detail = HITLDetail(ti_id=asking.id, options=["Approve", "Reject"], subject="?", multiple=False)
        detail.params, detail.params_input, detail.chosen_options = {}, {}, answer or None
        if answer:
            detail.responded_at, detail.responded_by = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), ADA
        session.add(detail)
        session.flush()
    status, text = page()
    assert status == 200
    assert said in text
    assert "churn_probability" in text
    assert "<b>ada" not in text


def test_a_promotions_tab_reads_no_comparison_of_another_deployment(
    project: Path, deployment: Path, page: Page, record: Callable[..., None]
) -> None:
    from batchdeploy.airflow import PromotionDag

    file = project / "scores" / "salaries.batchdeploy" / "comparisons" / DAY / "1-2.json"
    write(file, to_json(COMPARED))
    record(
        PromotionDag(str(deployment), dag_id="churn"),
        {"compare_models": str(file)},
        key="batchdeploy_comparison",
    )
    assert "churn_probability" not in page()[1]


def test_a_rejection_is_handed_on_with_who_decided(deployment: Path) -> None:
    """Airflow's own operator would skip what follows, and end as green as an approval."""
    from batchdeploy.airflow import PromotionDag

    tasks = PromotionDag(str(deployment)).task_dict
    event = {
        "chosen_options": ["Reject"],
        "params_input": {},
        "responded_at": datetime(2026, 1, 2, tzinfo=UTC),
    }
    decision = tasks["approve"].execute_complete({}, event | {"responded_by_user": ADA})
    assert decision == {"approved": False, "by": "<b>ada", "at": "2026-01-02T00:00:00+00:00"}
    promote = tasks["promote"].prepare_for_execution()
    promote.run, promote.decision = {"comparison": "/c.json"}, decision
    request = promote.request({})
    assert request.decision == Decision(approved=False, by="<b>ada", at="2026-01-02T00:00:00+00:00")
    promote.decision = None
    assert promote.request({}).decision is None


def test_the_page_of_a_maintenance_run_says_what_was_done(
    deployment: Path, page: Page, record: Callable[..., None]
) -> None:
    from batchdeploy.airflow import MaintenanceDag

    dag = MaintenanceDag(str(deployment), dag_id="churn")
    told = {"recover": "1 decided run(s) published: a <b>", "collect_garbage": "nothing to do"}
    record(dag, told, key="batchdeploy_summary")
    status, text = page()
    assert status == 200
    assert "recover: 1 decided run(s) published: a &lt;b&gt;" in text
    assert "collect_garbage: nothing to do" in text
    assert "No report yet" not in text


def test_the_page_of_a_rollback_is_the_report_of_the_run_that_is_visible(
    project: Path, deployment: Path, page: Page, record: Callable[..., None]
) -> None:
    from batchdeploy.airflow import RollbackDag

    record(RollbackDag(str(deployment), dag_id="churn"), {"rollback": str(report_in(project))})
    assert page() == (200, "<p>ours")
