"""Models of Databricks' Unity Catalog, by MLflow's client, against a local server that speaks its REST."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests_support import Result, edit
from unity_catalog import SIGNATURE, UnityCatalog, serving

from batchdeploy.adapters.mlflow import MlflowRegistry
from batchdeploy.adapters.mlflow.model_cache import digest_folder
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.registry_uris import RegistryUris, registry_uris
from batchdeploy.errors import BatchdeployError, RegistryError, RequestError

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
DAY, NAME, TOKEN = "2024-03-02", "main.ml.churn", "dapi-Qz7-not-to-be-seen"
CHURN = ModelRef(name=NAME)


@pytest.fixture
def catalog(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[UnityCatalog]:
    """The project's champion and challenger as versions 1 and 2 of a model of three levels."""
    here = MlflowRegistry(f"sqlite:///{project / 'mlflow.db'}")
    pins = [here.resolve(ModelRef(name="churn", version=version)) for version in (1, 2)]
    folders = [here.fetch(pin, tmp_path / "served") for pin in pins]
    served = UnityCatalog(TOKEN)
    served.versions[NAME] = folders
    served.aliases[NAME, "champion"] = 1
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CLIENT_ID", "DATABRICKS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    with serving(served):
        monkeypatch.setenv("DATABRICKS_HOST", served.address)
        monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
        yield served


def test_a_version_is_pinned_by_its_alias_and_fetched(catalog: UnityCatalog, tmp_path: Path) -> None:
    registry = MlflowRegistry("databricks-uc")
    pin = registry.resolve(CHURN)
    assert (pin.name, pin.version, pin.alias) == (NAME, 1, "champion")
    assert pin.digest == digest_folder(catalog.versions[NAME][0])
    assert [column.name for column in pin.inputs][:2] == ["age", "income"]
    folder = registry.fetch(pin, tmp_path / "models")
    assert digest_folder(folder) == pin.digest
    assert registry.resolve(ModelRef(name=NAME, version=2)).digest != pin.digest
    registry.move_alias(NAME, "champion", seen=1, version=2)
    assert registry.resolve(CHURN).version == 2


def test_a_profile_names_the_workspace(
    catalog: UnityCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    (tmp_path / ".databrickscfg").write_text(f"[prod]\nhost = {catalog.address}\ntoken = {TOKEN}\n")
    assert MlflowRegistry("databricks-uc://prod").resolve(CHURN).version == 1


@pytest.mark.slow
def test_a_run_scores_with_it(project: Path, catalog: UnityCatalog, cli: Callable[..., Result]) -> None:
    edit("{name: churn, alias: champion}", f"{{name: {NAME}, registry: databricks-uc}}")(project)
    done = cli("run", project / "dags" / "churn.yaml", "--partition", DAY, "--json")
    assert done.code == 0, done.err
    assert (done.json["manifest"]["model"], done.json["manifest"]["rows_scored"]) == (NAME, 200)
    written = [file.read_bytes() for file in (project / "scores").rglob("*") if file.is_file()]
    assert not any(secret.encode() in text for text in written for secret in (TOKEN, SIGNATURE))


ALIAS = "/registered-models/alias"
FAILURES: dict[str, tuple[dict[str, tuple[int, str, str]], type[BatchdeployError], str]] = {
    "no such alias": (
        {ALIAS: (404, "RESOURCE_DOES_NOT_EXIST", "Alias champion does not exist")}, RequestError,
        "main.ml.churn alias champion: no such model, version or alias",
    ),
    "no such schema": (
        {ALIAS: (404, "SCHEMA_DOES_NOT_EXIST", "Schema main.ml does not exist")}, RequestError,
        "main.ml.churn alias champion: no such model, version or alias",
    ),
    "no permission": (
        {ALIAS: (403, "PERMISSION_DENIED", f"{TOKEN} lacks EXECUTE")}, RegistryError, "PERMISSION_DENIED",
    ),
    "an unknown token": (
        {ALIAS: (401, "UNAUTHENTICATED", "invalid token")}, RegistryError, "UNAUTHENTICATED",
    ),
    "no service": ({ALIAS: (503, "TEMPORARILY_UNAVAILABLE", "try again")}, RegistryError, "databricks-uc"),
    "no permission for the files": (
        {"/fs/directories": (403, "PERMISSION_DENIED", "no READ")}, RegistryError, "PERMISSION_DENIED",
    ),
    "a file that is gone": ({"/store/": (404, "NOT_FOUND", "gone")}, RegistryError, "404"),
}  # fmt: skip


@pytest.mark.parametrize(("failures", "kind", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_is_one_message_without_a_secret(
    catalog: UnityCatalog,
    monkeypatch: pytest.MonkeyPatch,
    failures: dict[str, tuple[int, str, str]],
    kind: type[BatchdeployError],
    message: str,
) -> None:
    from batchdeploy.adapters.mlflow import registry_client

    # The deadline of a service that asks to be tried again is what a test can wait for.
    monkeypatch.setattr(registry_client, "DEADLINE_SECONDS", 3.0)
    catalog.failures.update(failures)
    with pytest.raises(kind) as caught:
        MlflowRegistry("databricks-uc").resolve(CHURN)
    assert message in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert SIGNATURE not in str(caught.value)
    assert len(caught.value.problems) == 1


def test_no_credentials_are_named_with_what_sets_them(
    catalog: UnityCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    with pytest.raises(RegistryError, match="DATABRICKS_HOST and DATABRICKS_TOKEN") as caught:
        MlflowRegistry("databricks-uc").resolve(CHURN)
    assert catalog.requests == []
    assert len(caught.value.problems) == 1


SQLITE = "sqlite:////root/mlflow.db"
URIS: dict[str, tuple[ModelRef, dict[str, str], tuple[str, str]]] = {
    "nothing": (ModelRef(name="m"), {}, (SQLITE, SQLITE)),
    "a registry alone": (
        ModelRef(name="m", registry="http://r"), {"MLFLOW_TRACKING_URI": "t"}, ("http://r", "http://r"),
    ),
    "a tracking server alone": (ModelRef(name="m", tracking="http://t"), {}, ("http://t",) * 2),
    "both": (ModelRef(name="m", registry="http://r", tracking="http://t"), {}, ("http://r", "http://t")),
    "a relative database": (
        ModelRef(name="m", registry="sqlite:///r.db", tracking="mlruns"), {},
        ("sqlite:////root/r.db", "/root/mlruns"),
    ),
    "the environment's": (
        ModelRef(name="m"), {"MLFLOW_TRACKING_URI": "http://t", "MLFLOW_REGISTRY_URI": "http://r"},
        ("http://r", "http://t"),
    ),
    "the environment's tracking server": (
        ModelRef(name="m"), {"MLFLOW_TRACKING_URI": "http://t"}, ("http://t",) * 2,
    ),
    "Unity Catalog": (ModelRef(name="m", registry="databricks-uc"), {}, ("databricks-uc", "databricks")),
    "a profile": (
        ModelRef(name="m", registry="databricks-uc://prod"), {}, ("databricks-uc://prod", "databricks://prod"),
    ),
    "a workspace": (ModelRef(name="m", tracking="databricks://prod"), {}, ("databricks-uc://prod", "databricks://prod")),
    "Unity Catalog, logged elsewhere": (
        ModelRef(name="m", registry="databricks-uc", tracking="http://t"), {}, ("databricks-uc", "http://t"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "environment", "expected"), URIS.values(), ids=URIS.keys())
def test_registry_and_tracking_follow_from_each_other(
    model: ModelRef, environment: dict[str, str], expected: tuple[str, str]
) -> None:
    assert registry_uris(model, environment, Path("/root")) == RegistryUris(*expected)
