from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests_support import move_alias

from batchdeploy.adapters.mlflow import MlflowRegistry, digest_folder
from batchdeploy.adapters.mlflow.model_cache import ModelCache
from batchdeploy.core.deployment import ModelRef
from batchdeploy.errors import RegistryError, RequestError


@pytest.fixture
def registry(project: Path) -> MlflowRegistry:
    return MlflowRegistry(f"sqlite:///{project / 'mlflow.db'}")


def test_pins_alias_version_id_digest_and_signature(registry: MlflowRegistry, project: Path) -> None:
    pin = registry.resolve(ModelRef(name="churn"))
    assert (pin.version, pin.alias, pin.returns) == (1, "champion", "array")
    assert [(c.name, c.type, c.required) for c in pin.inputs] == [
        ("age", "double", True),
        ("income", "double", True),
        ("visits", "long", True),
        ("member", "boolean", False),
        ("city", "string", True),
    ]
    assert [c.name for c in pin.outputs] == ["0", "1"]
    by_version = registry.resolve(ModelRef(name="churn", version=1))
    assert by_version == replace(pin, alias=None)
    move_alias(project, "champion", 2)
    moved = registry.resolve(ModelRef(name="churn"))
    assert moved.version == 2
    assert moved.digest != pin.digest


@pytest.mark.parametrize(
    "ref",
    [
        ModelRef(name="nonesuch"),
        ModelRef(name="churn", alias="nonesuch"),
        ModelRef(name="churn", version=99),
    ],
)
def test_a_ref_that_leads_nowhere(registry: MlflowRegistry, ref: ModelRef) -> None:
    with pytest.raises(RequestError, match="no such model, version or alias"):
        registry.resolve(ref)


def test_fetches_a_private_copy_once_and_mends_a_spoilt_one(registry: MlflowRegistry, tmp_path: Path) -> None:
    pin = registry.resolve(ModelRef(name="churn"))
    folder = registry.fetch(pin, tmp_path / "models")
    assert folder.name == pin.digest == digest_folder(folder)
    inode = (folder / "MLmodel").stat().st_ino
    assert registry.fetch(pin, tmp_path / "models") == folder
    assert (folder / "MLmodel").stat().st_ino == inode
    (folder / "MLmodel").write_text("spoilt")
    assert digest_folder(registry.fetch(pin, tmp_path / "models")) == pin.digest


def test_files_that_are_not_those_recorded_are_refused(registry: MlflowRegistry, tmp_path: Path) -> None:
    pin = replace(registry.resolve(ModelRef(name="churn")), digest="0" * 64)
    with pytest.raises(RegistryError, match="the files are not those recorded"):
        registry.fetch(pin, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_no_failure_of_the_registry(
    registry: MlflowRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "models")

    pin = registry.resolve(ModelRef(name="churn"))
    monkeypatch.setattr(ModelCache, "keep_download", refuse)
    with pytest.raises(PermissionError):
        registry.keep_download(pin, tmp_path / "models")


def test_a_registry_that_does_not_answer_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError) as caught:
        MlflowRegistry("http://user:hunter2@127.0.0.1:9").resolve(ModelRef(name="churn"))
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_leaves_the_processs_own_mlflow_settings_alone(registry: MlflowRegistry, tmp_path: Path) -> None:
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'other.db'}")
    try:
        registry.fetch(registry.resolve(ModelRef(name="churn")), tmp_path / "models")
        mlflow.set_tracking_uri("sqlite:///third.db")
        assert mlflow.get_registry_uri() == "sqlite:///third.db"
        assert not (tmp_path / "other.db").exists()
    finally:
        mlflow.set_tracking_uri(before)


def test_loads_what_it_fetched(registry: MlflowRegistry, tmp_path: Path) -> None:
    from tests_support import FEATURES, customers

    folder = registry.fetch(registry.resolve(ModelRef(name="churn")), tmp_path / "models")
    frame = customers("x", 5)[FEATURES].astype({"member": object})
    frame["member"] = frame["member"].where(frame["member"].notna(), None)
    assert registry.load(str(folder))(frame).shape == (5, 2)
    shutil.rmtree(folder)
