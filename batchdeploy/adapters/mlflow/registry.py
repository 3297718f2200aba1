"""The MLflow model registry: pins models by version and digest, and downloads them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from batchdeploy.adapters.mlflow.artifact_listing import list_files
from batchdeploy.adapters.mlflow.error_translation import (
    translate_errors,
    translate_file_errors,
    without_credentials,
)
from batchdeploy.adapters.mlflow.first_use_records import SHOWN_DIGITS, FirstUseRecords
from batchdeploy.adapters.mlflow.loading import load_predictor, package_versions
from batchdeploy.adapters.mlflow.mlmodel_file import check_small_files, read_mlmodel
from batchdeploy.adapters.mlflow.model_cache import ModelCache, VersionSource
from batchdeploy.adapters.mlflow.model_contents import list_modules, skops_problems
from batchdeploy.adapters.mlflow.onnx_weights import external_weight_problems
from batchdeploy.adapters.mlflow.params import read_params
from batchdeploy.adapters.mlflow.registry_client import RegistryClient, call_registry
from batchdeploy.adapters.mlflow.signatures import read_signature
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.first_use import VersionFiles
from batchdeploy.core.model_safety import code_if_allowed, code_in_model
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.records import ModelPin
from batchdeploy.core.registry_uris import RegistryUris, default_tracking, is_unity_catalog
from batchdeploy.errors import Problem, RequestError, ScoringRefused

DIGEST_TAG = "batchdeploy.digest"


class MlflowRegistry:
    """Resolves and downloads models.

    Args:
        uri: the URI of the model registry.
        tracking: that of the tracking server; None for the one that belongs to the registry.
        code: whether models may contain code, ``allow`` or ``refuse``.
        trusted_types: further types that a skops file may hold under ``refuse``.
        limits: the most files and bytes of a model.
        models: the table's folder of cached models.
        first_uses: the records of first uses; None: in the folder of cached models.
        load: the function with which a worker loads a downloaded model.
    """

    def __init__(
        self,
        uri: str,
        *,
        tracking: str | None = None,
        code: str = "allow",
        trusted_types: Sequence[str] = (),
        limits: LimitsSpec = LimitsSpec(),
        models: Path | None = None,
        first_uses: FirstUseRecords | None = None,
        load: Callable[[str], Callable[[Any], Any]] = load_predictor,
    ) -> None:
        self._uri = uri
        self._uris = RegistryUris(uri, tracking or default_tracking(uri))
        self._load = load
        self._limits = limits
        self._cache = ModelCache(self._download, models, first_uses)
        self._code: dict[tuple[str, str], tuple[Problem, ...]] = {}
        self._data_only = code == "refuse"
        self._trusted = tuple(trusted_types)

    @property
    def load(self) -> Callable[[str], Callable[[Any], Any]]:
        """The function with which a worker loads a downloaded model."""
        return self._load

    def resolve(self, ref: ModelRef) -> ModelPin:
        """Pins a model's version, model id and digest with one read of the registry.

        Downloads the files to hash them, unless their listing equals that of the version's first use. The tag
        ``batchdeploy.digest`` must match the digest; it does not replace the download.

        Raises:
            RequestError: no such model, alias or version, no signature, or other files than at the first use
                or than the tag claims.
            RegistryError: the registry does not answer.
        """
        with translate_errors(self._uri, ref):
            client = self._client()
            alias = None if ref.version is not None else (ref.alias or "champion")
            if alias is not None:
                found = client.get_model_version_by_alias(ref.name, alias)
            else:
                found = client.get_model_version(ref.name, str(ref.version))
            where = f"{ref.name} version {found.version}"
            source, described = self._source(client, found)
            self._code[ref.name, ref.label] = (*code_if_allowed(described.flavors, self._trusted),)
            if self._data_only and (problems := (*code_in_model(described.flavors),)):
                raise _code_refused(where, problems)
            columns = read_signature(described.signature, ref.input, where)
            loader = str(described.flavors.get("python_function", {}).get("loader_module"))
            schema = described.signature.params
            params = read_params(schema, ref.params, loader, where=where)
            digest = self._cache.digest(source)
            _check_digest_tag(dict(found.tags or {}).get(DIGEST_TAG), digest, where)
            return ModelPin(
                name=ref.name,
                version=int(found.version),
                model_id=source.seen.model_id,
                digest=digest,
                alias=alias,
                inputs=columns.inputs,
                outputs=columns.outputs,
                returns=columns.returns,
                params=params,
                tensors=columns.tensors,
            )

    def code_problems(self, ref: ModelRef) -> tuple[Problem, ...]:
        """The parts of a model that would run code of its author, according to its ``MLmodel`` file."""
        key = (ref.name, ref.label)
        if key not in self._code:
            self.resolve(ref)
        return self._code[key]

    def keep_download(self, pin: ModelPin, models: Path) -> None:
        """Moves the download of `resolve` into the cache, for `fetch` in this or another process.

        Raises:
            RequestError: at its first use, the version held other files.
            OSError: the cache cannot be written.
        """
        self._cache.keep_download(pin, models)

    def fetch(self, pin: ModelPin, models: Path) -> Path:
        """The folder, named by digest, that holds the model's files; downloads them if it does not exist.

        Raises:
            RegistryError: the download fails, or the files are not those that were pinned.
            RequestError: at its first use, the version held other files.
        """

        def find() -> VersionSource:
            client = self._client()
            return self._source(client, client.get_model_version(pin.name, str(pin.version)))[0]

        with translate_errors(self._uri, ModelRef(name=pin.name, version=pin.version)):
            folder = self._cache.fetch(pin, models, find)
        return self._checked(pin, folder)

    def _checked(self, pin: ModelPin, folder: Path) -> Path:
        """A copy whose small files are within limits, and whose types are allowed."""
        where = f"model {pin.name} version {pin.version}"
        read_mlmodel(folder / "MLmodel", where)
        check_small_files(folder, where)
        if self._data_only:
            self._check_types(pin, folder)
        return folder

    def _check_types(self, pin: ModelPin, folder: Path) -> None:
        """Checks the ``MLmodel`` file again, now covered by the digest, and the types in the skops files."""
        from mlflow.models import Model

        problems = [*code_in_model(Model.load(str(folder)).flavors)]
        for file in folder.rglob("*"):
            if file.is_symlink() or (file.name == "MLmodel" and file.parent != folder):
                problems.append(Problem(file.name, "is a link or a second MLmodel file, and not checked"))
            elif file.suffix == ".skops":
                problems += skops_problems(file, self._trusted)
            elif file.suffix == ".onnx":
                problems += external_weight_problems(file)
        if problems:
            raise ScoringRefused(
                f"model {pin.name} version {pin.version}", (*problems,), hint="see model.code: refuse"
            )

    def modules(self, pin: ModelPin) -> frozenset[str] | None:
        """The modules whose objects a model's files hold, found without loading; None if not known."""
        if (copy := self._cache.find(pin)) is not None:
            return list_modules(self._checked(pin, copy))
        with tempfile.TemporaryDirectory(prefix="batchdeploy-") as scratch:
            return list_modules(self.fetch(pin, Path(scratch)))

    def package_versions(self, folder: Path) -> dict[str, str]:
        """Package (and ``python``) to the version that a downloaded model was trained with."""
        return package_versions(str(folder))

    def move_alias(self, name: str, alias: str, *, seen: int, version: int) -> None:
        """Points an alias at a version, if it still points at version ``seen``.

        Raises:
            RequestError: the alias was moved in the meantime, or the version does not exist.
            RegistryError: the registry does not answer.
        """
        with translate_errors(self._uri, ModelRef(name=name, version=version)):
            client = self._client()
            current = int(client.get_model_version_by_alias(name, alias).version)
            if current == version:
                return
            if current != seen:
                raise RequestError(
                    f"model {name}",
                    (Problem(f"alias {alias}", f"was at version {seen} when it was compared", str(current)),),
                    hint="compare again with the current version",
                )
            client.get_model_version(name, str(version))
            client.set_registered_model_alias(name, alias, str(version))

    def _source(self, client: Any, found: Any) -> tuple[VersionSource, Any]:
        """A version's location with its listing, and its ``MLmodel``. Loads nothing of the model."""
        where = f"model {found.name} version {found.version}"
        with translate_file_errors(str(found.source), where):
            location = _location(client, found, self._uri)
        with translate_file_errors(location, where):
            listing = call_registry(partial(list_files, location, self._uris, self._limits, where), location)
        with tempfile.TemporaryDirectory(prefix="batchdeploy-") as scratch:
            file = self._download(f"{location}/MLmodel", Path(scratch))
            described = read_mlmodel(file, where)
            # MLflow writes the time into this file, so its hash changes when a model is saved again.
            files = listing.files | {"MLmodel": hashlib.sha256(file.read_bytes()).hexdigest()}
        seen = VersionFiles(
            name=found.name,
            version=int(found.version),
            model_id=found.model_id or str(found.source),
            location=without_credentials(location),
            files=files,
        )
        return VersionSource(location, seen, listing.stable), described

    def _download(self, location: str, scratch: Path) -> Path:
        import mlflow.artifacts

        # NOTE: do not use models:/NAME/VERSION here. It reads the process's global registry, and writes a
        # marker file into the registry's own folder if that is local.
        with translate_file_errors(location, "the model's files"):
            return Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=location,
                    dst_path=str(scratch),
                    tracking_uri=self._uris.tracking,
                    registry_uri=self._uris.registry,
                )
            )

    def _client(self) -> RegistryClient:
        """A client that leaves MLflow's process-wide URIs as they are."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        return RegistryClient(self._uris)


def _location(client: Any, version: Any, registry: str) -> str:
    """The location of a registered version's files."""
    if is_unity_catalog(registry):
        # NOTE: its files are read with temporary credentials, which MLflow asks for by name and version only.
        return f"models:/{version.name}/{version.version}"
    if version.model_id:
        return str(client.get_logged_model(version.model_id).artifact_location).rstrip("/")
    return str(client.get_model_version_download_uri(version.name, str(version.version))).rstrip("/")


def _check_digest_tag(claimed: str | None, digest: str, where: str) -> None:
    if claimed is not None and claimed != digest:
        text = f"its tag {DIGEST_TAG} claims {claimed[:SHOWN_DIGITS]}, but its files have another digest"
        hint = "the files, or the tag, were changed after the version was registered: register it anew"
        raise RequestError(f"model {where}", (Problem("digest", text, digest[:SHOWN_DIGITS]),), hint=hint)


def _code_refused(where: str, problems: tuple[Problem, ...]) -> RequestError:
    return RequestError(f"model {where}", problems, hint="model.code: allow loads it all the same")
