"""What every registry does: the one in memory, and MLflow's on SQLite."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pytest
from fakes import FakeModel, FakeRegistry
from tests_support import FEATURES, customers

from batchdeploy.adapters.mlflow import MlflowRegistry
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.records import Column, ModelPin
from batchdeploy.errors import RegistryError, RequestError
from batchdeploy.ports import ModelFetcher, ModelRegistry

CHURN = ModelRef(name="churn")
NOWHERE = {
    "no model": ModelRef(name="nonesuch"),
    "no alias": ModelRef(name="churn", alias="nonesuch"),
    "no version": ModelRef(name="churn", version=99),
}


def halves(frame: pd.DataFrame) -> Any:
    """Two equal probabilities for each row."""
    return np.full((len(frame), 2), 0.5)


def in_memory() -> FakeRegistry:
    """What `tests_support.build_project` registers: version 1 is the champion, version 2 the challenger."""
    types = {"age": "double", "income": "double", "visits": "long", "member": "boolean", "city": "string"}
    inputs = tuple(Column(name=c, type=types[c], required=c != "member") for c in FEATURES)
    outputs = (Column(name="0", type="double"), Column(name="1", type="double"))
    model = FakeModel(predict=halves, inputs=inputs, outputs=outputs, returns="array")
    registry = FakeRegistry()
    registry.register("churn", model, "champion")
    registry.register("churn", replace(model, content="another"), "challenger")
    return registry


class Registry(ModelRegistry, ModelFetcher, Protocol):
    """Both sides of a registry, which one adapter implements."""


@pytest.fixture(scope="module", params=["fake", "mlflow"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """One registry for all tests of this file; a test that moves an alias moves it back."""
    if request.param == "fake":
        return in_memory()
    root = tmp_path_factory.mktemp("registry")
    shutil.copy2(request.getfixturevalue("template") / "mlflow.db", root)
    return MlflowRegistry(f"sqlite:///{root / 'mlflow.db'}")


@pytest.fixture(scope="module")
def fetched(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelPin, Path]:
    """The champion and where its copy is."""
    pin = registry.resolve(CHURN)
    return pin, registry.fetch(pin, tmp_path_factory.mktemp("copies"))


@pytest.fixture(params=["fake", "mlflow"])
def silent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that does not answer."""
    if request.param == "mlflow":
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield MlflowRegistry("http://127.0.0.1:9")
    else:
        registry = in_memory()
        registry.failure = RegistryError("the registry", "does not answer")
        yield registry


def test_an_alias_and_a_version_give_the_same_pin(registry: Registry) -> None:
    pin = registry.resolve(CHURN)
    assert (pin.name, pin.version, pin.alias, pin.returns) == ("churn", 1, "champion", "array")
    assert [(c.name, c.required) for c in pin.inputs] == [(c, c != "member") for c in FEATURES]
    assert [c.name for c in pin.outputs] == ["0", "1"]
    assert registry.resolve(ModelRef(name="churn", version=1)) == replace(pin, alias=None)


def test_versions_differ_in_digest_and_id(registry: Registry) -> None:
    first, second = (registry.resolve(ModelRef(name="churn", version=version)) for version in (1, 2))
    assert first.digest != second.digest
    assert first.model_id != second.model_id


@pytest.mark.parametrize("ref", NOWHERE.values(), ids=NOWHERE.keys())
def test_a_ref_that_leads_nowhere_is_a_wrong_request(registry: Registry, ref: ModelRef) -> None:
    with pytest.raises(RequestError, match="no such model, version or alias"):
        registry.resolve(ref)
    with pytest.raises(RequestError):
        registry.code_problems(ref)


def test_a_copy_is_made_below_the_given_folder_and_found_again(registry: Registry, tmp_path: Path) -> None:
    pin = registry.resolve(CHURN)
    registry.keep_download(pin, tmp_path)
    folder = registry.fetch(pin, tmp_path)
    assert folder.is_relative_to(tmp_path)
    assert registry.fetch(pin, tmp_path) == folder
    assert folder != registry.fetch(registry.resolve(ModelRef(name="churn", version=2)), tmp_path)


def test_files_that_are_not_those_pinned_are_not_handed_out(registry: Registry, tmp_path: Path) -> None:
    pin = replace(registry.resolve(CHURN), digest="0" * 64)
    with pytest.raises(RegistryError, match="the files are not those recorded"):
        registry.fetch(pin, tmp_path)


def test_a_version_that_is_gone_cannot_be_fetched(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such model, version or alias"):
        registry.fetch(replace(registry.resolve(CHURN), version=99, digest="0" * 64), tmp_path)


def test_a_copy_answers_each_row_and_its_loader_can_be_pickled(
    registry: Registry, fetched: tuple[ModelPin, Path]
) -> None:
    pin, folder = fetched
    frame = customers("x", 5)[FEATURES].astype({"member": object})
    frame["member"] = frame["member"].where(frame["member"].notna(), None)
    load = pickle.loads(pickle.dumps(registry.load))
    assert load(str(folder))(frame).shape == (5, len(pin.outputs))
    assert hash(registry.load) == hash(registry.load)
    assert registry.load == registry.load


def test_a_model_is_described_without_loading_it(registry: Registry, fetched: tuple[ModelPin, Path]) -> None:
    pin, folder = fetched
    assert "python" in registry.package_versions(folder)
    assert isinstance(registry.modules(pin), frozenset | None)
    assert isinstance(registry.code_problems(CHURN), tuple)


def test_an_alias_moves_once_from_where_it_was_seen(registry: Registry) -> None:
    try:
        registry.move_alias("churn", "champion", seen=1, version=2)
        assert registry.resolve(CHURN).version == 2
        # Whoever is told late that it worked may ask again.
        registry.move_alias("churn", "champion", seen=1, version=2)
        with pytest.raises(RequestError, match="was at version 7 when it was compared, got 2"):
            registry.move_alias("churn", "champion", seen=7, version=1)
        assert registry.resolve(CHURN).version == 2
    finally:
        registry.move_alias("churn", "champion", seen=2, version=1)


@pytest.mark.parametrize(("alias", "version"), [("champion", 99), ("nonesuch", 2)])
def test_an_alias_does_not_move_to_nowhere_and_is_not_made(
    registry: Registry, alias: str, version: int
) -> None:
    with pytest.raises(RequestError, match="no such model, version or alias"):
        registry.move_alias("churn", alias, seen=1, version=version)
    assert registry.resolve(CHURN).version == 1


def test_a_registry_that_does_not_answer_may_answer_later(silent: Registry, tmp_path: Path) -> None:
    pin = in_memory().resolve(CHURN)
    for question in (
        lambda: silent.resolve(CHURN),
        lambda: silent.fetch(pin, tmp_path),
        lambda: silent.move_alias("churn", "champion", seen=1, version=2),
    ):
        with pytest.raises(RegistryError):
            question()
