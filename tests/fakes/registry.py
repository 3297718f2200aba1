"""A model registry in memory: versions, aliases, digests, and an alias that moves by compare-and-set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.pins import Column, ModelPin
from batchdeploy.errors import BatchdeployError, Problem, RegistryError, RequestError
from batchdeploy.ports import LoadPredictor, Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """One version of a registered model.

    Attributes:
        predict: a function from a frame of the inputs to predictions.
        content: represents the bytes of the model's files; other content has another digest.
        code: what `code_problems` says of it.
        modules: what `modules` says of it.
        package_versions: package (and ``python``) to version.
    """

    predict: Predictor
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    returns: Literal["frame", "array", "unknown"] = "frame"
    content: str = ""
    code: tuple[Problem, ...] = ()
    modules: frozenset[str] | None = frozenset()
    package_versions: dict[str, str] = field(default_factory=lambda: {"python": "3.11.0"})


class FakeRegistry:
    """Registered models by name and version.

    Attributes:
        failure: raised by every method while it is set, like by a registry that does not answer.
    """

    def __init__(self) -> None:
        self.failure: BatchdeployError | None = None
        self._versions: dict[str, list[FakeModel]] = {}
        self._aliases: dict[tuple[str, str], int] = {}
        self._by_digest: dict[str, FakeModel] = {}

    def register(self, name: str, model: FakeModel, *aliases: str) -> int:
        """Registers the next version, points aliases at it, and returns its number."""
        versions = self._versions.setdefault(name, [])
        versions.append(model)
        for alias in aliases:
            self._aliases[name, alias] = len(versions)
        return len(versions)

    def replace(self, name: str, version: int, model: FakeModel) -> None:
        """Replaces a version's files, as anybody with write access to the store can."""
        self._versions[name][version - 1] = model

    @property
    def load(self) -> LoadPredictor:
        """Loads a fetched copy by the digest in its folder's name."""
        return self._load

    def resolve(self, ref: ModelRef) -> ModelPin:
        """Pins the model; RequestError if no model version matches the ref."""
        self._answer()
        alias = None if ref.version is not None else (ref.alias or "champion")
        version = ref.version if alias is None else self._aliases.get((ref.name, alias))
        model = self._find(ref, version)
        assert version is not None
        return ModelPin(
            name=ref.name,
            version=version,
            model_id=f"{ref.name}/{version}",
            digest=_digest(ref.name, version, model),
            alias=alias,
            inputs=model.inputs,
            outputs=model.outputs,
            returns=model.returns,
        )

    def fetch(self, pin: ModelPin, models: Path) -> Path:
        """The folder that a copy of the model would have; writes nothing.

        Raises:
            RegistryError: the version's files differ from the pinned ones.
        """
        self._answer()
        model = self._find(ModelRef(name=pin.name, version=pin.version), pin.version)
        found = _digest(pin.name, pin.version, model)
        if found != pin.digest:
            problem = Problem("digest", f"the files are not those recorded, {pin.digest}", found)
            raise RegistryError(f"model {pin.name} version {pin.version}", (problem,))
        self._by_digest[found] = model
        return models / found

    def code_problems(self, ref: ModelRef) -> tuple[Problem, ...]:
        """The ``code`` of the registered model."""
        return self._find(ref, self.resolve(ref).version).code

    def keep_download(self, pin: ModelPin, models: Path) -> None:
        """Does nothing, because nothing was downloaded."""

    def modules(self, pin: ModelPin) -> frozenset[str] | None:
        """The ``modules`` of the registered model."""
        self._answer()
        return self._find(ModelRef(name=pin.name, version=pin.version), pin.version).modules

    def package_versions(self, folder: Path) -> dict[str, str]:
        """The versions of packages (and of ``python``) that a fetched model was logged with."""
        return self._by_digest[folder.name].package_versions

    def move_alias(self, name: str, alias: str, *, seen: int, version: int) -> None:
        """Points an alias at a version; RequestError if it no longer points at version ``seen``."""
        self._answer()
        current = self._aliases.get((name, alias))
        self._find(ModelRef(name=name, alias=alias), current)
        if current == version:
            return
        if current != seen:
            problem = Problem(f"alias {alias}", f"was at version {seen} when it was compared", str(current))
            raise RequestError(f"model {name}", (problem,))
        self._find(ModelRef(name=name, version=version), version)
        self._aliases[name, alias] = version

    def _load(self, folder: str) -> Predictor:
        return self._by_digest[Path(folder).name].predict

    def _answer(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _find(self, ref: ModelRef, version: int | None) -> FakeModel:
        versions = self._versions.get(ref.name, [])
        if version is None or not 1 <= version <= len(versions):
            raise RequestError(f"model {ref.name}", "no such model, version or alias: " + ref.label)
        return versions[version - 1]


def _digest(name: str, version: int, model: FakeModel) -> str:
    return hashlib.sha256(f"{name}/{version}/{model.content}".encode()).hexdigest()
