"""The composition root: the only package that chooses adapters; imports each at its first use."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchdeploy import ports
from batchdeploy.assembly.engine_rows import SparkReadScorer
from batchdeploy.assembly.reading import LocalReader
from batchdeploy.assembly.scoring import LocalScorer, cache_encoders, model_loader
from batchdeploy.assembly.sources import open_source, open_texts
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.layout import PAGE, Layout, split_run
from batchdeploy.core.locations import Location, StoreUri, is_uri
from batchdeploy.core.output_ref import CONTROL
from batchdeploy.core.records import Plan
from batchdeploy.core.registry_uris import RegistryUris, registry_uris
from batchdeploy.core.secrets import with_secrets
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.documents import read_deployment
from batchdeploy.errors import DeploymentError, Problem, RequestError
from batchdeploy.host.cache_folder import with_cache_folder
from batchdeploy.host.packages import require, require_all, required_extras
from batchdeploy.host.project_root import ROOT_VARIABLE, climbing_paths, find_root, refuse_lost_output
from batchdeploy.host.versions import RECORDED, versions_here
from batchdeploy.storage.comparison_records import ComparisonRecords
from batchdeploy.storage.control_record import check_control, own_control
from batchdeploy.storage.files import Disk
from batchdeploy.storage.reference_profiles import ReferenceProfiles
from batchdeploy.storage.run_records import RunRecords
from batchdeploy.workflows.toolbox import Toolbox

if TYPE_CHECKING:
    from batchdeploy.adapters.engines.local import LocalEngine
    from batchdeploy.adapters.engines.spark import SparkEngine
    from batchdeploy.adapters.mlflow.registry import MlflowRegistry
    from batchdeploy.storage.interface import Storage


@translate_system_errors("the deployment file")
def open_toolbox(file: str | os.PathLike[str], *, root: Path | None = None) -> LocalToolbox:
    """The toolbox of a deployment file.

    Args:
        file: the deployment's YAML file.
        root: the project's root; None finds it from the file.

    Raises:
        DeploymentError: the file is missing or invalid, a path in it leads out of the project, or the output
            path is in a folder that Airflow deletes.
    """
    path = Path(file)
    deployment = read_deployment(path)
    root = root or find_root(path, deployment.root)
    if not root.is_dir():
        key = ROOT_VARIABLE if deployment.root is None else "root"
        raise DeploymentError(str(path), (Problem(key, f"there is no folder {root}"),))
    refuse_lost_output(path, deployment, root)
    if problems := tuple(climbing_paths(deployment, root)):
        raise DeploymentError(str(path), problems, hint=f"paths start at the project's root, {root}")
    return LocalToolbox(root, path.resolve(), deployment)


def open_run(folder: Location, stores: StorageSpec = StorageSpec()) -> LocalToolbox:
    """The toolbox for a run's plan. Plans hold no secrets, so it cannot connect where one is needed.

    Args:
        folder: the run's or an attempt's folder.
        stores: how a store is reached to read the plan, which says how its deployment reaches it.

    Raises:
        RequestError: the folder has no plan.
    """
    planned = records_in(folder, stores).read("", Plan)
    text = str(folder) if isinstance(folder, StoreUri) else str(folder.resolve())
    control = text if (found := split_run(text)) is None else found[0]
    file, output = Path.cwd() / "here" if is_uri(text) else Path(control), planned.deployment.output
    tools = LocalToolbox(find_root(file, planned.deployment.root), Path(text), planned.deployment)
    if is_uri(text):
        tools.layout = replace(tools.layout, control_uri=control)
    elif control.endswith(CONTROL) and not (is_uri(output.path) or output.control):
        tools.layout = Layout(Path(control.removesuffix(CONTROL)))
    else:
        tools.layout = replace(tools.layout, control_uri=None, control_folder=Path(control))
    if stores != StorageSpec():
        tools.deployment = replace(tools.deployment, storage=stores)
    return tools


def fetch_page(folder: Location, stores: StorageSpec = StorageSpec()) -> Path:
    """The report page of a run's folder; one in a store is copied to this machine.

    A page that is missing or incomplete is drawn again.

    Raises:
        RequestError: the run did not get that far.
    """
    from batchdeploy.workflows.report import try_draw_report
    from batchdeploy.workflows.timing import StageClock

    records = records_in(folder, stores)
    if not records.has_page(""):
        try_draw_report(open_run(folder, stores), records.read("", Plan), StageClock())
    page = records.find_page("")
    if page is None:
        raise RequestError(str(folder), (Problem(PAGE, "the run did not get that far"),))
    if isinstance(folder, Path):
        return folder / PAGE
    found = split_run(folder)
    copy = open_run(folder, stores).layout.page_copy(folder.name if found is None else found[1])
    Disk(power=False).write(copy, page)
    return copy


def records_in(folder: Location, stores: StorageSpec = StorageSpec()) -> RunRecords:
    """The records of one run's or attempt's folder, at any place; their key is empty."""
    from batchdeploy.storage.opening import open_location

    return RunRecords(open_location(str(folder), stores))


class LocalToolbox(Toolbox):
    """The toolbox of a deployment on this machine; adapters are loaded at their first use."""

    def __init__(self, root: Path, file: Path, deployment: Deployment) -> None:
        self.root = root
        self.file = file
        self.deployment = deployment
        self.layout = with_cache_folder(Layout.of(root, deployment.output))

    @cached_property
    def _connected(self) -> Deployment:
        """The deployment with its secrets, for connections only; must not reach a record or message."""
        deployment, problems = with_secrets(self.deployment, os.environ)
        if problems:
            raise DeploymentError(str(self.file), problems)
        return deployment

    @cached_property
    def registry_uris(self) -> RegistryUris:
        """Where the deployment's model is registered, and where it was logged."""
        return registry_uris(self._connected.model, os.environ, self.root)

    @cached_property
    def registry(self) -> MlflowRegistry:
        require("mlflow", self.deployment)
        from batchdeploy.adapters.mlflow import PredictorLoader, open_registry

        model, limits = self.deployment.model, self.deployment.limits
        load = PredictorLoader(rewrite=cache_encoders)
        control = None if self.layout.control_uri is None else self._control
        return open_registry(self.registry_uris, model, limits, self.layout.models, load, control=control)

    @property
    def fetcher(self) -> ports.ModelFetcher:
        return self.registry

    @cached_property
    def source(self) -> ports.Source:
        return open_source(self.root, self.deployment, lambda: self.spark)

    @cached_property
    def engine(self) -> LocalEngine | SparkEngine:
        if self.deployment.engine.kind == "spark":
            return self.spark
        from batchdeploy.adapters.engines.local import LocalEngine

        return LocalEngine()

    @property
    def workers(self) -> ports.Workers:
        return self.engine

    @cached_property
    def spark(self) -> SparkEngine:
        require("spark", self.deployment)
        from batchdeploy.adapters.engines.spark import SparkEngine

        spec = self._connected.engine
        memory = self.deployment.limits.worker_memory_mib
        limit = {} if memory is None else {"spark.executor.pyspark.memory": f"{memory}m"}
        return SparkEngine(spec.remote or spec.master, {**limit, **(spec.conf or {})}, spec.gpu)

    @cached_property
    def validator(self) -> ports.Validator:
        require("gx", self.deployment)
        from batchdeploy.adapters.great_expectations import GxValidator

        return GxValidator(self.layout.suites)

    @cached_property
    def publishing(self) -> ports.TableAccess:
        require("mlflow", self.deployment)
        if self.deployment.publish.mode == "pointer":
            require("objects", self.deployment)
        from batchdeploy.publishing.opening import open_table

        deployment = self.deployment
        return open_table(
            self.layout, deployment.output, deployment.publish, self.records, stores=deployment.storage
        )

    @cached_property
    def _control(self) -> Storage:
        """The control folder. Records are not synced here; a publish syncs those it depends on."""
        from batchdeploy.storage.locking import locked
        from batchdeploy.storage.opening import open_location

        lock = partial(locked, self.layout, self.deployment.publish.lock_seconds)
        control = open_location(self.layout.control_target, self.deployment.storage, lock=lock)
        check_control(control, self.deployment)
        return control

    @cached_property
    def records(self) -> RunRecords:
        return RunRecords(self._control)

    @cached_property
    def comparisons(self) -> ComparisonRecords:
        return ComparisonRecords(self._control)

    @cached_property
    def painter(self) -> ports.Painter:
        from batchdeploy.adapters.charts import Charts

        return Charts()

    @cached_property
    def versions(self) -> dict[str, str]:
        """The versions of Python and of the libraries that scores depend on."""
        return versions_here(RECORDED)

    def check_packages(self) -> None:
        """Checks, without importing, that all packages are installed that a run of the deployment needs."""
        require_all(required_extras(self.deployment))

    def own_control(self) -> None:
        """Records that the control folder is this deployment's."""
        own_control(self._control, self.deployment)

    @cached_property
    def texts(self) -> ports.TextSource:
        return open_texts(self.root, self.deployment)

    @cached_property
    def references(self) -> ports.ReferenceSource:
        return ReferenceProfiles(self.texts)

    @cached_property
    def reader(self) -> ports.PartitionReader:
        return LocalReader(self, lambda: self.spark)

    @cached_property
    def scorer(self) -> ports.Scorer:
        return LocalScorer(self, self.partition_scorer)

    @cached_property
    def partition_scorer(self) -> SparkReadScorer | None:
        if self.deployment.engine.read == "splits":
            return None
        return SparkReadScorer(lambda: self.spark, lambda job: model_loader(self, job))

    def close(self) -> None:
        """Stops the engine if it was started."""
        for name in ("engine", "spark"):
            if name in self.__dict__:
                self.__dict__[name].close()
