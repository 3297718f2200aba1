"""A version's files are held against what its own location held at its first use, and not against its tag."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pytest
from faults.stores import BUCKET, ENVIRONMENT, s3
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from tests_support import Result, register_folder

from batchdeploy.adapters.mlflow import MlflowRegistry, artifact_listing, digest_folder
from batchdeploy.core.deployment import ModelRef, PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import ModelPin
from batchdeploy.errors import DataError, RegistryError, RequestError
from batchdeploy.publishing.opening import open_swap_table

MLMODEL = """\
flavors:
  python_function: {loader_module: mlflow.lightgbm, data: model.lgb}
  lightgbm: {data: model.lgb}
signature: {inputs: '[{"name": "a", "type": "double"}]'}
"""
CHURN = ModelRef(name="churn")


class Registered:
    """The champion of a registry: a folder with a description and a file of weights."""

    def __init__(self, project: Path, weights: str = "first") -> None:
        self.project = project
        self.folder = project / f"model-{weights}"
        self.folder.mkdir()
        (self.folder / "MLmodel").write_text(MLMODEL, encoding="utf-8")
        self.write("model.lgb", weights)
        self.models = project / "scores" / "churn.batchdeploy" / "models"

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    @property
    def registry(self) -> MlflowRegistry:
        """As a new process has it."""
        return MlflowRegistry(f"sqlite:///{self.project / 'mlflow.db'}", models=self.models)

    def use(self) -> tuple[ModelPin, Path]:
        registry = self.registry
        pin = registry.resolve(CHURN)
        return pin, registry.fetch(pin, self.models)


@pytest.fixture
def champion(project: Path) -> Registered:
    made = Registered(project)
    register_folder(project, made.folder)
    return made


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was downloaded; the files of these tests count as settled, since no test waits for seconds."""
    seen: list[str] = []
    real: Callable[..., str] = mlflow.artifacts.download_artifacts

    def counted(*, artifact_uri: str, **others: Any) -> str:
        seen.append(artifact_uri.rpartition("/")[2])
        return real(artifact_uri=artifact_uri, **others)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", counted)
    monkeypatch.setattr(artifact_listing, "STABLE_SECONDS", -1.0)
    return seen


def same_size_and_time(made: Registered) -> None:
    file = made.folder / "model.lgb"
    before = file.stat()
    file.write_text("other", encoding="utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Registered], object]] = {
    "other weights": lambda made: made.write("model.lgb", "second"),
    "of the same size and time": same_size_and_time,
    "a further file": lambda made: made.write("more.txt", ""),
    "a file less": lambda made: (made.folder / "model.lgb").unlink(),
    "weights under MLflow's own name, deeper down": lambda made: made.write(
        "deep/registered_model_meta", "w"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_files_that_were_changed_after_the_first_use_are_refused_with_both_digests(
    champion: Registered, downloads: list[str], name: str
) -> None:
    pin, _ = champion.use()
    CHANGES[name](champion)
    with pytest.raises(RequestError, match="the files are not those of its first use on 20") as refused:
        champion.registry.resolve(CHURN)
    for digest in (pin.digest, digest_folder(champion.folder)):
        assert digest[:16] in str(refused.value)
    with pytest.raises(RequestError, match="not those of its first use"):
        champion.registry.fetch(replace(pin, digest=digest_folder(champion.folder)), champion.models)
    (record,) = (champion.models / "first-used").iterdir()
    assert str(record) in str(refused.value)
    record.unlink()
    assert champion.use()[0].digest == digest_folder(champion.folder)


def test_a_tag_of_another_versions_digest_has_nobody_score_with_its_files(
    champion: Registered, project: Path
) -> None:
    first, copy = champion.use()
    other = Registered(project, "second")
    register_folder(project, other.folder, digest=first.digest)
    with pytest.raises(
        RequestError, match=r"claims [0-9a-f]{16}, but its files have another digest, got"
    ) as refused:
        champion.registry.resolve(CHURN)
    assert first.digest[:16] in str(refused.value)
    assert digest_folder(other.folder)[:16] in str(refused.value)
    forged = replace(first, version=first.version + 1)
    with pytest.raises(RegistryError, match="the files are not those recorded"):
        champion.registry.fetch(forged, champion.models)
    assert digest_folder(copy) == first.digest


def test_a_tag_that_is_true_is_taken_and_one_that_changes_is_not(project: Path) -> None:
    made = Registered(project)
    version = register_folder(project, made.folder, digest=digest_folder(made.folder))
    assert made.use()[0].digest == digest_folder(made.folder)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    client.set_model_version_tag("churn", str(version), "batchdeploy.digest", "0" * 64)
    with pytest.raises(RequestError, match="claims 0000000000000000, but its files have another digest"):
        made.registry.resolve(CHURN)


def test_mlflows_mark_is_no_part_of_a_model_and_is_not_there_to_be_loaded(champion: Registered) -> None:
    pin, _ = champion.use()
    champion.write("registered_model_meta", "model_name: churn\n")
    again, copy = champion.use()
    assert again.digest == pin.digest
    shutil.rmtree(copy)
    _, copy = champion.use()
    assert not (copy / "registered_model_meta").exists()
    (copy / "deep").symlink_to(champion.folder)
    assert digest_folder(copy) != pin.digest


def test_the_first_use_is_downloaded_once_and_a_later_plan_not_at_all(
    champion: Registered, downloads: list[str]
) -> None:
    registry = champion.registry
    pin = registry.resolve(CHURN)
    assert registry.resolve(CHURN) == pin
    registry.keep_download(pin, champion.models)
    assert downloads.count("model-first") == 1
    champion.use()
    assert champion.registry.resolve(CHURN) == pin
    assert downloads.count("model-first") == 1
    (champion.folder / "model.lgb").touch()
    assert champion.use()[0] == pin
    assert downloads.count("model-first") == 2, "a file that was touched is looked at again"
    champion.use()
    assert downloads.count("model-first") == 2, "and then as it lies now"


def test_files_written_to_a_moment_ago_are_looked_at_again(
    champion: Registered, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_listing, "STABLE_SECONDS", 3600.0)
    champion.use()
    champion.use()
    assert downloads.count("model-first") == 2


def test_of_two_first_uses_one_is_written_down(champion: Registered, project: Path) -> None:
    early, late = champion.registry, champion.registry
    pin = early.resolve(CHURN)
    champion.write("model.lgb", "second")
    other = late.resolve(CHURN)
    late.keep_download(other, champion.models)
    with pytest.raises(RequestError, match="not those of its first use"):
        early.keep_download(pin, champion.models)
    assert champion.use()[0] == other


def test_the_record_outlives_the_copies_and_a_broken_one_is_named(
    champion: Registered, project: Path
) -> None:
    _, copy = champion.use()
    (record,) = (champion.models / "first-used").iterdir()
    for path in (record, record.parent, copy):
        os.utime(path, (0, 0))
    access = open_swap_table(Layout(project / "scores" / "churn"), PublishSpec())
    access.maintenance.collect_garbage(now=record.stat().st_mtime + 10**10)
    assert (record.is_file(), copy.exists()) == (True, False)
    record.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=str(record)):
        champion.registry.resolve(CHURN)


class Elsewhere(LocalArtifactRepository):
    """A store that tells sizes and nothing else, as one behind a server does."""

    def __init__(self, artifact_uri: str, *others: Any, **more: Any) -> None:
        super().__init__(artifact_uri.replace("elsewhere:", "file:"))


@pytest.fixture
def elsewhere() -> Iterator[None]:
    known = artifact_repository_registry._artifact_repository_registry._registry
    known["elsewhere"] = Elsewhere
    yield
    del known["elsewhere"]


@pytest.mark.usefixtures("elsewhere")
def test_a_change_that_no_listing_shows_is_not_scored_either(project: Path, downloads: list[str]) -> None:
    made = Registered(project)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    found = client.create_model_version("churn", source=made.folder.as_uri().replace("file:", "elsewhere:"))
    client.set_registered_model_alias("churn", "champion", str(found.version))
    pin, _ = made.use()
    made.write("model.lgb", "other")
    again, copy = made.use()
    assert (again, (copy / "model.lgb").read_text()) == (pin, "first")
    assert downloads.count("model-first") == 1
    shutil.rmtree(copy)
    with pytest.raises(RegistryError, match="the files are not those recorded"):
        made.use()
    made.write("MLmodel", MLMODEL + "# saved anew\n")
    with pytest.raises(RequestError, match="not those of its first use"):
        made.use()


@pytest.mark.slow
def test_in_s3_an_object_of_the_same_size_is_told_by_its_etag(
    project: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = Registered(project)
    with s3() as port:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        bucket = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        for file in made.folder.iterdir():
            bucket.upload_file(str(file), BUCKET, f"deep/model/{file.name}")
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
        found = client.create_model_version("churn", source=f"s3://{BUCKET}/deep/model")
        client.set_registered_model_alias("churn", "champion", str(found.version))
        pin, _ = made.use()
        assert made.use()[0] == pin
        assert downloads.count("model") == 1
        bucket.put_object(Bucket=BUCKET, Key="deep/model/model.lgb", Body=b"other")
        with pytest.raises(RequestError, match="not those of its first use"):
            made.registry.resolve(CHURN)


@pytest.mark.slow
def test_the_command_line_refuses_a_changed_model_and_publishes_nothing(
    project: Path, deployment: Path, cli: Callable[..., Result]
) -> None:
    uri = f"sqlite:///{project / 'mlflow.db'}"
    registry = MlflowRegistry(uri)
    copy = registry.fetch(registry.resolve(CHURN), project / "elsewhere")
    register_folder(project, copy)
    assert cli("run", deployment, "--partition", "2024-03-01").code == 0
    (copy / "more.txt").touch()
    for command in ("plan", "run"):
        refused = cli(command, deployment, "--partition", "2024-03-02")
        assert refused.code == 2, refused.err
        assert "model churn version 3" in refused.err
        assert "not those of its first use" in refused.err
    assert [path.name for path in (project / "scores" / "churn").iterdir()] == ["date=2024-03-01"]
