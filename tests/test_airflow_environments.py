"""Airflow's door: credentials from Connections and values from Variables, for the task's process only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import task_context
from object_stores import ACCOUNT, ACCOUNT_KEY, CREDENTIALS, new_bucket
from tests_support import Result

from batchdeploy.errors import DeploymentError, RequestError

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

SECRET = "Qz7Xk8Vw9-secret"
KEY = {"type": "service_account", "private_key": f"-----BEGIN {SECRET}", "client_email": "a@b.example"}
ADDRESS = "https://acct.blob.core.windows.net"
AZURITE = "DefaultEndpointsProtocol=http;AccountName=dev;AccountKey=a2V5PT0=;BlobEndpoint=http://host:1/dev;"


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (
            "aws",
            {"login": "id", "password": SECRET, "extra": {"region_name": "eu-west-1", "endpoint_url": "http://s:1"}},
            {
                "AWS_ACCESS_KEY_ID": "id",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_ENDPOINT_URL_S3": "http://s:1",
                "AWS_ENDPOINT_URL": "http://s:1",
                "AWS_REGION": "eu-west-1",
                "AWS_DEFAULT_REGION": "eu-west-1",
            },
        ),
        (
            "aws",
            {"extra": {"aws_access_key_id": "id", "aws_secret_access_key": SECRET, "aws_session_token": "t",
                       "service_config": {"s3": {"endpoint_url": "http://s3:1"}}, "endpoint_url": "http://all:1"}},
            {
                "AWS_ACCESS_KEY_ID": "id",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_SESSION_TOKEN": "t",
                "AWS_ENDPOINT_URL_S3": "http://s3:1",
                "AWS_ENDPOINT_URL": "http://s3:1",
            },
        ),
        ("aws", {"extra": {"profile_name": "lake"}}, {"AWS_PROFILE": "lake"}),
        (
            "google_cloud_platform",
            {"extra": {"key_path": "/k.json"}},
            {"GOOGLE_APPLICATION_CREDENTIALS": "/k.json"},
        ),
        (
            "google_cloud_platform",
            {"extra": {"extra__google_cloud_platform__keyfile_dict": json.dumps(KEY)}},
            {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(KEY)},
        ),
        ("google_cloud_platform", {"extra": {"is_anonymous": True}}, {"GOOGLE_SKIP_SIGNATURE": "true"}),
        (
            "wasb",
            {"login": "acct", "password": SECRET},
            {"AZURE_STORAGE_ACCOUNT_NAME": "acct", "AZURE_STORAGE_ACCOUNT_KEY": SECRET},
        ),
        (
            "wasb",
            {"host": ADDRESS, "extra": {"sas_token": f"sv=1&sig={SECRET}"}},
            {"AZURE_STORAGE_ACCOUNT_NAME": "acct", "AZURE_STORAGE_SAS_TOKEN": f"sv=1&sig={SECRET}"},
        ),
        (
            "wasb",
            {"extra": {"connection_string": AZURITE}},
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "dev",
                "AZURE_STORAGE_ACCOUNT_KEY": "a2V5PT0=",
                "AZURE_STORAGE_ENDPOINT": "http://host:1/dev",
            },
        ),
        (
            "wasb",
            {"host": ADDRESS, "login": "app", "password": SECRET, "extra": {"tenant_id": "t"}},
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "acct",
                "AZURE_STORAGE_TENANT_ID": "t",
                "AZURE_STORAGE_CLIENT_ID": "app",
                "AZURE_STORAGE_CLIENT_SECRET": SECRET,
            },
        ),
        (
            "adls",
            {"host": "acct", "password": SECRET},
            {"AZURE_STORAGE_ACCOUNT_NAME": "acct", "AZURE_STORAGE_ACCOUNT_KEY": SECRET},
        ),
    ],
)  # fmt: skip
def test_a_connection_stands_for_the_variables_that_stores_read(
    kind: str, fields: dict[str, Any], expected: dict[str, str]
) -> None:
    from batchdeploy.airflow.connection_fields import connection_variables

    variables, dropped = connection_variables(connection(kind, **fields))
    assert variables == expected
    assert not set(dropped) & set(variables)
    if kind == "aws":
        # Others of the worker would win over these, or be mixed with them.
        assert "AWS_WEB_IDENTITY_TOKEN_FILE" in dropped
        assert ("AWS_PROFILE" in dropped) == ("AWS_PROFILE" not in expected)


def connection(kind: str | None, **fields: Any) -> Any:
    from airflow.sdk import Connection

    if "extra" in fields:
        fields["extra"] = json.dumps(fields["extra"])
    return Connection(conn_id="lake", conn_type=kind, **fields)


def test_a_connection_without_credentials_leaves_those_of_the_worker() -> None:
    from batchdeploy.airflow.connection_fields import connection_variables

    region = connection("aws", extra={"region_name": "eu-west-1"})
    assert connection_variables(region) == (
        {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"},
        (),
    )


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (("http", {}), "its type: must be one of aws, google_cloud_platform, wasb, adls, got http"),
        ((None, {}), "its type: must be one of aws, google_cloud_platform, wasb, adls, got none"),
        (
            ("aws", {"extra": {"role_arn": "r"}}),
            "extra.role_arn: is not supported\nHint: give the worker that role",
        ),
        (("google-cloud-platform", {"extra": {"impersonation_chain": "x"}}), "extra.impersonation_chain"),
        (("wasb", {"extra": {"managed_identity_client_id": "x"}}), "give the worker that identity"),
    ],
)
def test_what_no_variable_stands_for_is_refused(made: tuple[str | None, dict[str, Any]], said: str) -> None:
    from batchdeploy.airflow.connection_fields import connection_variables

    with pytest.raises(RequestError) as caught:
        connection_variables(connection(made[0], **made[1]))
    assert said in str(caught.value)


def with_storage(deployment: Path, storage: str, **replaced: str) -> Path:
    text = deployment.read_text() + f"storage: {storage}\n"
    for key, (old, new) in {"path": ("scores/churn", "path"), "owner": ("tests", "owner")}.items():
        text = text.replace(f"{key}: {old}", f"{key}: {replaced.get(new, old)}")
    deployment.write_text(text)
    return deployment


def test_credentials_are_there_while_the_step_runs_and_in_no_message_afterwards(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batchdeploy.airflow.task_environment import task_environment
    from batchdeploy.redaction import redact

    with_storage(deployment, "{connection: '${LAKE:-lake}'}")
    made = {"conn_type": "aws", "login": "id", "password": SECRET, "extra": {"region_name": "eu-west-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(made))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of the worker")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    before = dict(os.environ)
    with task_environment(deployment, None) as spec:
        assert spec.storage.connection == "lake"
        names = ("AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_SESSION_TOKEN")
        assert [os.environ.get(name) for name in names] == ["id", "eu-west-1", None]
    assert dict(os.environ) == before
    assert SECRET not in redact(f"cannot sign with {SECRET}")


def test_a_connection_that_airflow_does_not_have_is_named(deployment: Path) -> None:
    from batchdeploy.airflow.task_environment import task_environment

    with_storage(deployment, "{connection: nowhere}")
    said = "storage.connection: Airflow has no such connection, got nowhere\nHint: airflow connections add"
    with pytest.raises(RequestError, match=said), task_environment(deployment, None):
        pass


def test_values_of_an_environment_are_read_when_a_task_runs(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batchdeploy.airflow import ScoringDag
    from batchdeploy.airflow.task_environment import task_environment

    with_storage(deployment, "{region: '${REGION:-local}'}", path="${PLACE}/churn", owner="${OWNER:-nobody}")
    with pytest.raises(DeploymentError, match="the environment variable PLACE is not set"):
        ScoringDag(str(deployment))
    dag = ScoringDag(str(deployment), environment="prod")
    plan = dag.get_task("plan")
    assert (plan.spec.output.path, plan.owner) == ("${PLACE}/churn", "nobody")
    values = {"PLACE": "elsewhere", "REGION": "eu-west-1", "PATH": "evil", "SIZE": 3}
    monkeypatch.setenv("AIRFLOW_VAR_BATCHDEPLOY_PROD", json.dumps(values))
    before = dict(os.environ)
    with task_environment(deployment, "prod") as spec:
        assert (spec.output.path, spec.storage.region) == ("elsewhere/churn", "eu-west-1")
        # A variable that the deployment does not name is not set.
        assert os.environ["PATH"] == before["PATH"]
    assert dict(os.environ) == before
    # What the process has goes over the Variable, on parsing and in the task.
    monkeypatch.setenv("PLACE", "here")
    assert ScoringDag(str(deployment), environment="prod").get_task("plan").spec.output.path == "here/churn"
    with task_environment(deployment, "prod") as spec:
        assert spec.output.path == "here/churn"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "there is no such Variable\nHint: airflow variables set batchdeploy_prod"),
        ("PLACE=x", "must hold a JSON object of names to values"),
        ('{"PLACE": ["x"]}', "PLACE: must be a text, a number or a boolean"),
        ('{"OTHER": "x"}', "PLACE: is neither in it nor in the worker's environment"),
    ],
)
def test_an_environment_that_is_not_right_is_one_error(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, said: str
) -> None:
    from batchdeploy.airflow.task_environment import task_environment

    with_storage(deployment, "{}", path="${PLACE}/churn")
    if value is not None:
        monkeypatch.setenv("AIRFLOW_VAR_BATCHDEPLOY_PROD", value)
    with pytest.raises(RequestError) as caught, task_environment(deployment, "prod"):
        pass
    assert said in str(caught.value)
    assert str(caught.value).startswith("1 problem in the Airflow Variable batchdeploy_prod:")


@pytest.mark.parametrize(
    ("change", "environment", "said"),
    [
        (
            ("{column: date}", "{column: date, schedule: '${CRON}'}"),
            "prod",
            "data.partition.schedule: needs CRON",
        ),
        (
            ("name: churn\n", "name: '${NAME_OF_IT}'\n"),
            "prod",
            "name: needs NAME_OF_IT, which is not set where",
        ),
        (("", ""), "prod env", "environment: must consist of letters, digits"),
    ],
)
def test_what_the_dag_is_made_of_needs_its_value_on_parsing(
    deployment: Path, change: tuple[str, str], environment: str, said: str
) -> None:
    from batchdeploy.airflow import ScoringDag

    deployment.write_text(deployment.read_text().replace(*change, 1))
    with pytest.raises(DeploymentError) as caught:
        ScoringDag(str(deployment), environment=environment)
    assert said in str(caught.value)


def test_connection_and_profile_are_one_too_many(deployment: Path) -> None:
    from batchdeploy.documents import read_deployment

    with_storage(deployment, "{connection: lake, profile: mine}")
    with pytest.raises(DeploymentError, match="gives credentials, and so does storage\\.profile: name one"):
        read_deployment(deployment)


STORE = {
    "S3": {"conn_type": "aws", "login": "test", "password": SECRET, "extra": {"region_name": "us-east-1"}},
    "Azure": {"conn_type": "wasb", "login": ACCOUNT, "password": ACCOUNT_KEY},
}


@pytest.mark.parametrize("kind", ["S3", "Azure"])
def test_a_store_takes_the_credentials_of_a_connection(
    deployment: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import obstore

    from batchdeploy.airflow.task_environment import task_environment
    from batchdeploy.storage.object_store import open_store

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bucket = new_bucket(request, kind)
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    made = STORE[kind] | ({"host": bucket.storage.endpoint} if kind == "Azure" else {})
    if kind == "S3":
        made["extra"] = {"region_name": "us-east-1", "endpoint_url": bucket.storage.endpoint}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(made))
    with_storage(deployment, "{connection: lake}")
    with task_environment(deployment, None) as spec:
        store = open_store(bucket.uri, spec.storage)
        obstore.put(store, "key", b"rows")
        assert bytes(obstore.get(store, "key").bytes()) == b"rows"


def test_doctor_says_that_commands_do_not_have_the_connection(
    deployment: Path, cli: Callable[..., Result]
) -> None:
    with_storage(deployment, "{connection: lake}")
    findings = {finding["name"]: finding for finding in cli("doctor", deployment, "--json").json}
    said = "lake is for Airflow's tasks; commands use the environment's own"
    assert findings["storage connection"]["found"] == said
    assert findings["storage connection"]["ok"]


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("${PLACE}/churn", {"PLACE": "elsewhere"}, "{root}/elsewhere/churn.batchdeploy"),
        ("${PLACE}/churn", {"PLACE": "/srv/scores"}, "/srv/scores/churn.batchdeploy"),
        ("${PLACE:-scores}/churn", {"OTHER": "x"}, "{root}/scores/churn.batchdeploy"),
        ("${PLACE}/churn", {"OTHER": "x"}, None),
        ("${PLACE}/churn", None, None),
    ],
)
def test_pages_find_the_control_folder_of_an_environment(
    project: Path,
    deployment: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    values: dict[str, str] | None,
    expected: str | None,
) -> None:
    from types import SimpleNamespace

    from batchdeploy.airflow import ScoringDag
    from batchdeploy.airflow.report_access import control_folders

    monkeypatch.delenv("PLACE", raising=False)
    with_storage(deployment, "{}", path=path)
    plan = ScoringDag(str(deployment), environment="prod").get_task("plan")
    assert "environment" in plan.template_fields, "Airflow serializes these"
    monkeypatch.setenv("AIRFLOW_VAR_BATCHDEPLOY_PROD", json.dumps(values) if values is not None else "[]")
    shown = SimpleNamespace(is_mapped=False, control=plan.control.serialize(), environment=plan.environment)
    found = control_folders(shown, str(deployment))
    assert {control.path for control in found} == ({expected.format(root=project)} if expected else set())


def test_a_task_reads_its_rows_with_a_connection_and_an_environment(
    project: Path, deployment: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batchdeploy.airflow import ScoringDag

    rows = project / "data" / "customers"
    with monkeypatch.context() as here:
        for name, value in CREDENTIALS.items():
            here.setenv(name, value)
        bucket = new_bucket(request, "S3")
        for file in sorted(rows.rglob("*.parquet")):
            bucket.put(f"lake/{file.relative_to(rows)}", file.read_bytes())
    with_storage(deployment, "{connection: lake}")
    deployment.write_text(deployment.read_text().replace("data/customers", "s3://${BUCKET}/lake"))
    made = {"conn_type": "aws", "login": "test", "password": SECRET}
    made["extra"] = {"region_name": "us-east-1", "endpoint_url": bucket.storage.endpoint}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(made))
    values = json.dumps({"BUCKET": bucket.uri.removeprefix("s3://")})
    monkeypatch.setenv("AIRFLOW_VAR_BATCHDEPLOY_PROD", values)
    dag = ScoringDag(str(deployment), tasks="one", environment="prod")
    answer = dag.get_task("run").execute(task_context(dag, "2024-03-02"))
    assert (answer["partition"], answer["rows"]) == ("2024-03-02", 200)
    assert not [file for file in project.rglob("*.json") if SECRET in file.read_text(errors="replace")]
