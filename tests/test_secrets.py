"""No secret gets into anything that is written or shown: planted everywhere, then looked for everywhere."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import tests_support
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_support import Result

import batchdeploy as bd
from batchdeploy import assembly, redaction
from batchdeploy.core.records import Plan
from batchdeploy.core.request import StepRequest
from batchdeploy.core.secrets import without_secrets
from batchdeploy.documents import from_json, read_deployment, to_json
from batchdeploy.documents.yaml_files import redacted_deployment
from batchdeploy.errors import DeploymentError, OutsideError, Problem, RequestError, shorten
from batchdeploy.redaction import redact

DAY = "2024-03-02"
# At both ends and in the middle of every secret, so that parts of it are found, too.
MARKS = ("Qz7", "Xk8", "Vw9")
MARGINS = {
    "anything": "/+=@:%&;#?!$,.-_~'\"<>{}[]| ",
    "no blank": "/+=@:%&;#?!$,.-_~|",
    "one parameter": "/+=@:%?!$.-_~|",
    "base64": "/+=-_.~%",
}
DEPLOYMENT = """\
name: churn
model: {{name: churn, registry: {registry}}}
data: {{path: data/customers, partition: {{column: date}}, keys: [customer_id]}}
output: {{path: scores/churn, columns: {{churn_probability: {{type: double, select: 1}}}}, keep: [city]}}
expectations: expectations/customers.json
# spark.last.years.token: "{comment}"
engine:
  kind: local
  remote: {remote}
  conf:
    spark.hadoop.fs.s3a.secret.key: {key}
    spark.ssl.keyPassword: {password}
    spark.driver.extraJavaOptions: {options}
    spark.sql.shuffle.partitions: 7
"""


def secrets(kind: str) -> st.SearchStrategy[str]:
    signs = st.text("abcXYZ019" + MARGINS[kind], max_size=6)
    return st.builds(lambda a, b: f"{MARKS[0]}{a}{MARKS[1]}{b}{MARKS[2]}", signs, signs)


def leaks(*texts: object) -> list[str]:
    """What is left of a secret in any of the texts."""
    return [f"{mark}: …{str(t)[:400]}" for t in texts for mark in MARKS if mark in str(t)]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What one test takes for secrets is none to the others."""
    before = set(redaction._remembered)
    yield
    redaction._remembered.clear()
    redaction._remembered.update(before)


PLACES: dict[str, tuple[str, Callable[[str], str]]] = {
    "a URI's password": (
        "no blank",
        lambda s: f"cannot reach postgresql://bob:{s}@db.host:5432/mlflow today",
    ),
    "a URI's password, encoded": ("anything", lambda s: f"got 'https://bob:{quote(s)}@host/x'"),
    "a URI's token": ("base64", lambda s: f"clone https://{quote(s, safe='')}@git.host/x failed"),
    "no scheme": ("no blank", lambda s: f"bob:{s.replace('//', '')}@db.host:5432/mlflow refused"),
    "a query": ("base64", lambda s: f"GET https://h/a?b=1&password={s}&c=2 failed"),
    "a signed URL": (
        "base64",
        lambda s: f"403 https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature={s}",
    ),
    "a shared access signature": ("base64", lambda s: f"https://a.blob.core.windows.net/c?sv=1&sig={s}"),
    "Spark Connect": (
        "one parameter",
        lambda s: f"cannot dial sc://h:15002/;use_ssl=true;token={s};user_id=x",
    ),
    "a header of Spark Connect": ("one parameter", lambda s: f"sc://h/;x-what-ever={s}"),
    "a connection string": ("base64", lambda s: f"host=db user=bob password={s} sslmode=require"),
    "an account": ("base64", lambda s: f"DefaultEndpointsProtocol=https;AccountKey={s};EndpointSuffix=x"),
    "JSON": ("anything", lambda s: f"sent {json.dumps({'token': s, 'x': 1})}"),
    "a repr": ("anything", lambda s: f"sent { {'x': 1, 'aws_secret_access_key': s}!r}"),
    "a header": ("base64", lambda s: f"Authorization: Bearer {s}\nAccept: *"),
    "YAML": ("base64", lambda s: f"a: 1\npassword: {s}\nb: 2"),
    "options of Java": ("base64", lambda s: f"-Xmx1g -Djavax.net.ssl.keyStorePassword={s} -Da=b"),
}


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=40)
@given(st.data())
def test_a_secret_that_nobody_knows_is_told_by_its_place(place: str, data: st.DataObject) -> None:
    kind, told = PLACES[place]
    text = told(data.draw(secrets(kind)))
    shown = redact(text)
    assert leaks(shown) == []
    assert redact(shown) == shown
    error = RequestError(text, (Problem(text, text, text),), hint=text)
    assert leaks(error, error.problems, error.where, error.hint, error.args, pickle.dumps(error)) == []
    assert leaks(shorten(ValueError(text))) == []


@settings(max_examples=60)
@given(secrets("anything"), st.text(max_size=20), st.text(max_size=20))
def test_a_secret_that_is_known_is_found_in_any_text(secret: str, before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_TOKEN", secret)
        for written in (secret, quote(secret), quote(secret, safe=""), repr(secret), json.dumps(secret)):
            assert leaks(redact(before + written + after)) == []


def test_places_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shell exports PWD, so that each message about a file in it lost the place."""
    monkeypatch.setenv("PWD", "/home/anna/churn")
    monkeypatch.setenv("DB_PASSWORD_FILE", "/run/secrets/db")
    monkeypatch.setenv("DB_PASSWORD", "Xk8+def/abc")
    text = "no such file in /home/anna/churn, nor /run/secrets/db"
    assert redact(text) == text
    assert redact(f"{text}: Xk8+def/abc") == f"{text}: ***"


def test_ordinary_messages_stay_as_they_are() -> None:
    for text in (
        "models:/churn@champion has no signature",
        "abfss://container@account.dfs.core.windows.net/scores cannot be listed",
        "output.columns.token: is required",
        "unexpected token: ',' at line 3",
        "https://github.com/owner/name@v1",
        "spark://host:7077 and sc://host:15002/;use_ssl=true;user_id=bob do not answer",
        "data.keys: customer_id; primary key: date",
        "/data/a:b/file.parquet: is not Parquet",
    ):
        assert redact(text) == text


def test_log_records_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    log = redaction.logger("batchdeploy.test")
    with caplog.at_level(logging.INFO, logger="batchdeploy.test"):
        try:
            raise ValueError("postgresql://bob:Qz7pw@host/db")
        except ValueError:
            log.exception("no answer from %s", "sc://h/;token=Xk8")
    assert "no answer from sc://h/;token=***" in caplog.text
    assert "ValueError" in caplog.text
    assert leaks(caplog.text) == []


def test_no_module_logs_past_the_redactor() -> None:
    house = Path(bd.__file__).parent
    past = [
        f"{file.name}: {line}"
        for file in house.rglob("*.py")
        if file.name not in ("redaction.py", "devserver.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "getLogger(" in line and 'getLogger("' not in line
    ]
    assert past == []


def written(folder: Path, given: dict[str, str]) -> Path:
    """A deployment file with these values, quoted as JSON, which YAML reads."""
    file = folder / "planted.yaml"
    quoted = {name: value if name == "comment" else json.dumps(value) for name, value in given.items()}
    file.write_text(DEPLOYMENT.format(**quoted), encoding="utf-8")
    return file


@settings(max_examples=40)
@given(
    given_=st.fixed_dictionaries(
        {
            "key": secrets("anything"),
            "password": secrets("anything"),
            "options": secrets("base64").map(lambda s: f"-Djavax.net.ssl.trustStorePassword={s} -Da=b"),
            "remote": st.tuples(secrets("one parameter"), secrets("one parameter")).map(
                lambda pair: "sc://127.0.0.1:1/;token={};user_agent=me;x-header={}".format(*pair)
            ),
            "comment": secrets("base64"),
            "registry": st.just("sqlite:///mlflow.db"),
        }
    )
)
def test_records_and_docs_of_a_deployment_hold_names(
    given_: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = written(tmp_path_factory.getbasetemp(), given_)
    deployment = read_deployment(file)
    assert deployment.engine.remote == given_["remote"]
    planned = replace(tests_support.plan("a", None), deployment=deployment)
    text = to_json(planned)
    doc = redacted_deployment(file)
    assert leaks(text, doc, repr(planned), repr(without_secrets(deployment))) == []
    assert from_json(Plan, text, where="plan.json") == planned
    conf = planned.deployment.engine.conf or {}
    assert conf["spark.sql.shuffle.partitions"] == 7
    assert conf["spark.hadoop.fs.s3a.secret.key"] == "***"
    assert planned.deployment.engine.remote == "sc://127.0.0.1:1/;token=***;user_agent=me;x-header=***"
    assert "# spark.last.years.token" in doc
    # From now on the file's secrets are redacted in messages of other libraries, too.
    assert leaks(shorten(f"denied: {given_['key']}", 10_000)) == []
    (file.parent / "again.yaml").write_text(doc, encoding="utf-8")
    assert replace(read_deployment(file.parent / "again.yaml"), model=deployment.model).name == "churn"


WRONG = {
    "a secret in a list": (
        "kind: local",
        "kind: local\n  conf: {spark.x.secret: [Qz7abc], a.token: {b: Xk8}}",
    ),
    "a secret for a number": ("kind: local", "kind: {token: Qz7abc}"),
    "a key that is there twice": (
        "kind: local",
        "kind: local\n  conf: {spark.secret: Qz7a, spark.secret: Xk8b}",
    ),
    "no address of Spark Connect": ("kind: local", "kind: local\n  remote: http://a:Qz7@b/;token=Xk8"),
    "a registry's password": ("name: churn,", "name: churn, registry: 'mysql://a:Qz7/b@c/d?password=Xk8',"),
    "an output's password": ("path: scores/churn", "path: 's3://me:Qz7/a@b/c?X-Amz-Signature=Xk8'"),
}


@pytest.mark.parametrize(("before", "after"), WRONG.values(), ids=WRONG)
def test_a_deployment_that_is_wrong_is_told_without_its_secrets(
    deployment: Path, cli: Callable[..., Result], before: str, after: str
) -> None:
    tests_support.edit(before, after)(deployment.parents[1])
    done = cli("check", deployment, "--json")
    assert done.code == 2
    assert leaks(done.out, done.err) == []


@pytest.mark.slow
def test_a_run_leaves_no_secret_anywhere(
    deployment: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    root = deployment.parents[1]
    conf = "kind: local\n  remote: 'sc://h/;token=Qz7a/b'\n  conf: {spark.x.secret: Xk8abc, y: 'z?sig=Vw9'}"
    deployment.write_text(deployment.read_text().replace("{kind: local}", f"\n  {conf}"), encoding="utf-8")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "Qz7abc/Xk8+def")
    texts: list[str] = []
    for command in (
        ("check", deployment),
        ("plan", deployment, "-p", DAY),
        ("run", deployment, "-p", DAY),
        ("backfill", deployment, "--from", DAY, "--to", "2024-03-03"),
        ("status", deployment),
        ("read-sql", deployment),
        ("doctor",),
    ):
        for form in ((), ("--json",)):
            done = cli(*command, *form)
            assert done.code == 0 or command == ("doctor",), done.err
            texts += [done.out, done.err]
    run = next((root / "scores" / "churn.batchdeploy" / "runs").glob(f"date={DAY}/*"))
    texts += [cli("show", run, *form).out for form in ((), ("--json",))]
    assert '"spark.x.secret": "***"' in texts[-1]
    assert leaks(*texts, caplog.text) == []
    files = [file for file in (root / "scores").rglob("*") if file.is_file()]
    assert len(files) > 10
    assert [leak for file in files for leak in leaks(file.read_bytes().decode("latin-1"))] == []
    made = json.loads((run / "plan.json").read_text())["run_id"]
    tests_support.edit("Xk8abc", "another")(root)
    assert cli("plan", deployment, "-p", DAY, "--json").json["plans"][0]["run_id"] == made
    assert cli("plan", deployment, "-p", DAY, "--json").json["plans"][0]["state"] == "identical"


def failing(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that nobody answers for; MLflow's message repeats the address."""
    address = "registry: 'http://bob:${DB_PASSWORD}@127.0.0.1:1'"
    tests_support.edit("alias: champion", f"alias: champion, {address}")(deployment.parents[1])
    monkeypatch.setenv("DB_PASSWORD", "Qz7%20a%2FXk8%40Vw9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_what_other_libraries_raise_is_told_without_secrets(
    deployment: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(deployment, monkeypatch)
    done = cli("plan", deployment, "-p", DAY, "--json")
    assert done.code == 3
    assert "127.0.0.1" in done.err
    assert leaks(done.out, done.err) == []
    with bd.load(deployment) as job, pytest.raises(bd.OutsideError) as caught:
        job.plan(DAY)
    told = "".join(traceback.format_exception(caught.value))
    assert "127.0.0.1" in told
    assert leaks(told) == []


def test_what_nobody_foresaw_is_told_without_secrets(
    deployment: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("at https://bob:Qz7/x@host/?sig=Xk8")

    # Patched, because an unforeseen error cannot be provoked.
    monkeypatch.setattr(assembly.LocalReader, "inspect", fail)
    done = cli("plan", deployment, "-p", DAY, "--json")
    assert (done.code, "ZeroDivisionError" in done.err) == (3, True)
    assert leaks(done.out, done.err) == []
    with bd.load(deployment) as job, pytest.raises(OutsideError, match="not foreseen") as caught:
        job.plan(DAY)
    assert leaks("".join(traceback.format_exception(caught.value))) == []


def test_a_variable_is_filled_in_and_a_secret_one_at_its_use(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = deployment.parents[1]
    monkeypatch.setenv("TEAM", "risk")
    monkeypatch.setenv("SPARK_TOKEN", "abcdefgh")
    tests_support.edit("owner: tests", "owner: ${TEAM}-${ROLE:-batch}")(root)
    remote = "{remote: 'sc://h/;token=${SPARK_TOKEN}', conf: {spark.x.secret: '${X_SECRET:-12345678}'}}"
    tests_support.edit("{kind: local}", remote)(root)
    tools = assembly.open_toolbox(deployment)
    assert tools.deployment.owner == "risk-batch"
    assert tools.deployment.engine.remote == "sc://h/;token=${SPARK_TOKEN}"
    assert tools.engine._master == "sc://h/;token=abcdefgh"  # type: ignore[attr-defined]
    assert tools.engine._conf == {"spark.x.secret": "12345678"}  # type: ignore[attr-defined]
    planned = replace(tests_support.plan("a", None), deployment=tools.deployment)
    assert planned.deployment.engine.remote == "sc://h/;token=${SPARK_TOKEN}"
    assert planned.deployment.engine.conf == {"spark.x.secret": "${X_SECRET}"}
    monkeypatch.delenv("SPARK_TOKEN")
    with pytest.raises(DeploymentError, match="environment variable SPARK_TOKEN is not set"):
        _ = assembly.open_toolbox(deployment).engine


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "owner: tests",
            "owner: ${NO_SUCH}",
            r"owner: the environment variable NO_SUCH is not set \(line 2",
        ),
        ("scores/churn", "scores/${MY_TOKEN}", "output.path: MY_TOKEN is a secret; those are taken by model"),
        (
            "engine:",
            "storage: {endpoint: 'https://${STORE_KEY}@host'}\nengine:",
            "storage.endpoint: STORE_KEY is a secret; those are taken by model",
        ),
        (
            "keys: [customer_id]",
            "keys: [customer_id]\n  where: [{column: city, op: in, value: ['${API_SECRET}']}]",
            r"data.where.0.value.0: API_SECRET is a secret",
        ),
        (
            "alias: champion",
            "alias: champion, registry: databricks-uc",
            r"model.name: Unity Catalog wants catalog.schema.model",
        ),
        (
            "alias: champion",
            "alias: champion, tracking: 'http://bob:Qz7abcdef@host'",
            "model.tracking: holds credentials; write",
        ),
    ],
)
def test_a_variable_that_cannot_be_filled_in(deployment: Path, before: str, after: str, told: str) -> None:
    tests_support.edit(before, after)(deployment.parents[1])
    with pytest.raises(DeploymentError, match=told):
        read_deployment(deployment)


def test_a_variable_stands_in_any_text_and_is_recorded_as_its_value(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Result]
) -> None:
    """Of a secret one, a record has the name; one that is not set is a wrong request."""
    root = deployment.parents[1]
    monkeypatch.setenv("CITY", "Bern")
    monkeypatch.setenv("TRACKING_PASSWORD", "Qz7-Xk8-Vw9")
    where = "where: [{column: city, op: in, value: ['${CITY}', '${OTHER:-Genève}']}]"
    tests_support.edit("keys: [customer_id]", f"keys: ['${{KEY_COLUMN:-customer_id}}']\n  {where}")(root)
    uris = "registry: 'sqlite:///mlflow.db', tracking: 'http://bob:${TRACKING_PASSWORD}@127.0.0.1:1'"
    tests_support.edit("alias: champion", f"alias: champion, {uris}")(root)
    tools = assembly.open_toolbox(deployment)
    assert tools.registry_uris.tracking == "http://bob:Qz7-Xk8-Vw9@127.0.0.1:1"
    planned = to_json(replace(tests_support.plan("a", None), deployment=tools.deployment))
    assert leaks(planned) == []
    found = json.loads(planned)["deployment"]
    assert found["data"]["keys"] == ["customer_id"]
    assert found["data"]["where"][0]["value"] == ["Bern", "Genève"]
    assert found["model"]["tracking"] == "http://bob:${TRACKING_PASSWORD}@127.0.0.1:1"
    monkeypatch.delenv("TRACKING_PASSWORD")
    refused = cli("plan", deployment, "-p", DAY)
    assert refused.code == 2
    assert "model.tracking: the environment variable TRACKING_PASSWORD is not set" in refused.err


@pytest.mark.slow
def test_a_plan_is_executed_with_the_secrets_of_the_deployment(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An orchestrator's steps read plan.json back; what connects is not in it."""
    from batchdeploy.workflows.step import take_step

    database = deployment.parents[1] / "mlflow.db"
    tests_support.edit("alias: champion", "registry: 'sqlite:///${DB_PASSWORD}'")(deployment.parents[1])
    monkeypatch.setenv("DB_PASSWORD", "Qz7-registry.db")
    database.rename(database.with_name("Qz7-registry.db"))
    answer: dict[str, Any] = {}
    for step in ("plan", "validate", "score", "drift", "publish"):
        tools = assembly.open_toolbox(deployment)
        request = StepRequest(step=step, partition=DAY, folder=answer.get("folder"))  # type: ignore[arg-type]
        answer = take_step(tools, request)
        assert answer["outcome"] == "done"
        assert leaks(answer) == []
        tools.close()
        if step == "plan":
            plan = json.loads(Path(answer["folder"], "plan.json").read_text())
            assert plan["deployment"]["model"]["registry"] == "sqlite:///${DB_PASSWORD}"


@pytest.mark.airflow
@pytest.mark.filterwarnings("ignore")
def test_airflow_keeps_no_secret(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from airflow.serialization.serialized_objects import DagSerialization

    from batchdeploy.airflow import PlanOperator, ScoringDag

    failing(deployment, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://bob:Qz7@mlflow.host/x/?token=Xk8")
    conf = "{kind: local, remote: 'sc://h/;token=Qz7a/b', conf: {spark.x.secret: Xk8abc}}  # sig=Vw9"
    tests_support.edit("{kind: local}", conf)(deployment.parents[1])
    dag = ScoringDag(str(deployment))
    assert "spark.x.secret: '***'" in str(dag.doc_md) or "spark.x.secret: ***" in str(dag.doc_md)
    assert leaks(dag.doc_md, json.dumps(DagSerialization.to_dict(dag), default=str)) == []
    task = dag.get_task("plan")
    assert isinstance(task, PlanOperator)
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="d", run_id="r", try_number=1, xcom_push=lambda key, value: pushed.update({key: value})
    )
    with pytest.raises(OutsideError) as caught:
        task.execute({"ti": ti, "params": {"partition": DAY}})
    assert leaks("".join(traceback.format_exception(caught.value)), pushed) == []
    assert pushed
    tests_support.edit(", registry: 'http://bob:${DB_PASSWORD}@127.0.0.1:1'", "")(deployment.parents[1])
    page = PlanOperator(task_id="again", deployment=str(deployment)).registry_page
    assert page == "https://mlflow.host/x"


def test_the_jvms_command_line_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user of a machine may read what its processes were started with."""
    from pyspark import SparkContext, java_gateway

    from batchdeploy.adapters.engines.spark.jvm import start_jvm

    told: dict[str, str] = {}

    def launch(conf: Any, _kwargs: Any) -> None:
        told.update(conf.getAll())
        raise RuntimeError("no JVM")

    # Patched, because a JVM takes seconds to start, and only its command line matters here.
    monkeypatch.setattr(java_gateway, "launch_gateway", launch)
    monkeypatch.setattr(SparkContext, "_gateway", None)
    with pytest.raises(RuntimeError, match="no JVM"):
        start_jvm({"spark.hadoop.fs.s3a.secret.key": "Qz7abc", "spark.sql.shuffle.partitions": "3"})
    assert told == {"spark.sql.shuffle.partitions": "3"}
