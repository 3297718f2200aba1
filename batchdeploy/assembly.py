"""The composition root: the only module that chooses adapters, each when it is first needed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchdeploy import ports
from batchdeploy.core.deployment import Deployment
from batchdeploy.core.layout import CONTROL, PRINTED, Layout
from batchdeploy.core.records import DataPin, InputSchema, Plan
from batchdeploy.core.secrets import with_secrets
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.core.work import LocatingLoader, ScoreJob, Split, SplitResult
from batchdeploy.documents import read_deployment
from batchdeploy.errors import DeploymentError, Problem
from batchdeploy.host.packages import require, require_all, required_extras
from batchdeploy.host.project_root import ROOT_VARIABLE, climbing_paths, find_root, refuse_lost_output
from batchdeploy.host.versions import RECORDED, versions_here
from batchdeploy.storage.run_records import read

if TYPE_CHECKING:
    from batchdeploy.adapters.accelerators import ModelLoaders
    from batchdeploy.adapters.engines.spark import SparkEngine
    from batchdeploy.publishing.opening import TableAccess


@translate_system_errors("the deployment file")
def open_toolbox(file: str | os.PathLike[str], *, root: Path | None = None) -> LocalToolbox:
    """The toolbox of a deployment file.

    Args:
        file: the deployment's YAML file.
        root: the project's root, where it is known already.

    Raises:
        DeploymentError: the file is missing or wrong, a path in it climbs out of the project, or its scores
            would lie where Airflow deletes them.
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


def open_run(folder: Path) -> LocalToolbox:
    """The toolbox that a run was made with, from its own plan; for what needs no secret.

    Raises:
        RequestError: there is no plan in the folder.
    """
    planned = read(folder, Plan)
    control = next((p for p in folder.resolve().parents if p.name.endswith(CONTROL)), folder)
    tools = LocalToolbox(find_root(control, planned.deployment.root), folder, planned.deployment)
    tools.layout = Layout(control.with_name(control.name.removesuffix(CONTROL)))
    return tools


class LocalToolbox:
    """Everything that answers for one deployment on this machine; adapters load at their first use."""

    # NOTE: so many values are validated as one pandas frame, in a fraction of the time that Spark needs to
    # plan as many jobs; both read null, NaN and type the same. They take some 200 MB; a text counts as ten.
    one_machine_cells = 20_000_000

    def __init__(self, root: Path, file: Path, deployment: Deployment) -> None:
        self.root = root
        self.file = file
        self.deployment = deployment
        self.layout = Layout.of(root, deployment.output)

    @cached_property
    def _connected(self) -> Deployment:
        """The deployment with its secrets, which no record and no message holds."""
        deployment, problems = with_secrets(self.deployment, os.environ)
        if problems:
            raise DeploymentError(str(self.file), problems)
        return deployment

    @cached_property
    def registry_uri(self) -> str:
        """The deployment's registry, else ``MLFLOW_TRACKING_URI``, else the project's own SQLite file."""
        given = self._connected.model.registry
        if given is None:
            return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"
        if given.startswith("sqlite:///"):
            return f"sqlite:///{self.root / given.removeprefix('sqlite:///')}"
        return given if "://" in given or given.startswith("databricks") else str(self.root / given)

    @cached_property
    def registry(self) -> ports.Registry:
        require("mlflow", self.deployment)
        from batchdeploy.adapters.mlflow import PredictorLoader, open_registry

        model, limits = self.deployment.model, self.deployment.limits
        load = PredictorLoader(rewrite=cache_encoders)
        return open_registry(self.registry_uri, model, limits, self.layout.models, load)

    @cached_property
    def store(self) -> ports.Store:
        if self.deployment.data.rev is not None:
            require("dvc", self.deployment)
            from batchdeploy.adapters.sources.dvc import DvcStore

            return DvcStore(self.root)
        from batchdeploy.adapters.sources.folder import FolderStore

        return FolderStore(self.root, recorded=self._recorded())

    @cached_property
    def engine(self) -> ports.Engine:
        if self.deployment.engine.kind == "spark":
            return self._spark
        from batchdeploy.adapters.engines.local import LocalEngine

        return LocalEngine()

    @cached_property
    def _spark(self) -> SparkEngine:
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
    def _access(self) -> TableAccess:
        require("mlflow", self.deployment)
        if self.deployment.publish.mode == "pointer":
            require("objects", self.deployment)
        from batchdeploy.publishing.opening import open_table

        return open_table(self.layout, self.deployment.output, self.deployment.publish)

    @property
    def staging(self) -> ports.Staging:
        return self._access.staging

    @property
    def table(self) -> ports.PublishedTable:
        return self._access.table

    @property
    def publisher(self) -> ports.Publisher:
        return self._access.publisher

    @property
    def claims(self) -> ports.Claims:
        return self._access.claims

    @property
    def maintenance(self) -> ports.Maintenance:
        return self._access.maintenance

    @property
    def evidence(self) -> ports.Evidence:
        return self._access.evidence

    @cached_property
    def painter(self) -> ports.Painter:
        from batchdeploy.adapters.charts import Charts

        return Charts()

    @cached_property
    def versions(self) -> dict[str, str]:
        """Versions of Python and of the libraries that a score depends on."""
        return versions_here(RECORDED)

    def check_packages(self) -> None:
        """Looks whether all is installed that a run of the deployment needs; nothing is imported for it."""
        require_all(required_extras(self.deployment))

    def inspect(self, pin: DataPin) -> InputSchema:
        """Columns and rows from the footers of a partition's files."""
        require("mlflow", self.deployment)
        from batchdeploy.adapters.parquet_splits import inspect

        return inspect(pin, self.deployment.limits, engine=self.deployment.engine.kind)

    @contextmanager
    def frame(self, plan: Plan, columns: Collection[str] | None) -> Iterator[Any]:
        """These columns as a pandas frame where that is quicker, else the partition as the engine's own."""
        from batchdeploy.adapters.parquet_splits import read_frame, watch_pinned_files

        partition = (self.deployment.data.partition.column, plan.partition)
        where = plan.deployment.data.where
        read = [c for c in plan.schema.columns if columns is None or c.name in columns]
        cells = plan.schema.rows * sum(10 if c.type == "string" else 1 for c in read)
        if self.deployment.engine.kind == "spark" and cells > self.one_machine_cells:
            nanoseconds = [c.name for c in plan.schema.columns if c.type.startswith("timestamp[ns")]
            with watch_pinned_files(plan.data.files):
                yield self._spark.frame(plan.data, partition, where, nanoseconds=nanoseconds)
        else:
            yield read_frame(plan.data, partition, where, columns)

    def make_splits(self, pin: DataPin) -> tuple[Split, ...]:
        """The partition cut into pieces of work."""
        from batchdeploy.adapters.parquet_splits import make_splits

        return make_splits(pin)

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits with rows whose keys are not unique in the partition, with those rows named."""
        from batchdeploy.adapters.parquet_splits import find_duplicates

        return find_duplicates(job, splits, results)

    def worker(self, job: ScoreJob) -> Callable[[Split], SplitResult]:
        """The picklable function that scores one split."""
        from batchdeploy.adapters.parquet_splits import score_split

        loaders, locate, device = self._loaders, self.engine.locate, self.engine.device
        if job.runtime_folder is None:
            return partial(score_split, job=job, load=LocatingLoader(locate, loaders.native))
        from batchdeploy.adapters.accelerators import AcceleratedLoader

        kind = self.deployment.model.runtime
        loader = AcceleratedLoader(kind, job.runtime_folder, loaders, locate, job.threads, device)
        return partial(score_split, job=job, load=loader)

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """The job with what ``model.runtime`` needs, made and proved, once the model was tried out.

        Raises:
            ScoringRefused: the model ends the process that it is loaded or asked in.
            RequestError, EngineError, ScoringRefused: it cannot be, and ``model.fallback`` says refuse.
        """
        from batchdeploy.adapters.mlflow import Probe, probe_model
        from batchdeploy.adapters.parquet_splits import capture_output, sample_frames

        samples, kind = partial(sample_frames, splits, job.spec), self.deployment.model.runtime
        printed, seconds = Path(job.staging, PRINTED), self.deployment.limits.model_seconds
        where = f"model {self.deployment.model.name} version {job.spec.model_version}"
        probe_model(Probe(where, model, seconds, printed / "first-load.txt"), samples)
        if kind == "native":
            return job
        require(kind, self.deployment)
        from batchdeploy.adapters import accelerators

        into = self.layout.models / accelerators.artifact_name(kind, job.model_digest)
        refuse = self.deployment.model.fallback == "refuse"
        with capture_output(printed / "prepare.txt"):
            made = accelerators.build_or_fall_back(kind, model, into, samples, self._loaders, refuse=refuse)
        return replace(job, runtime_folder=self.engine.distribute(into)) if made else job

    @property
    def _loaders(self) -> ModelLoaders:
        from batchdeploy.adapters.accelerators import ModelLoaders
        from batchdeploy.adapters.mlflow import PredictorLoader, find_graph, load_estimator

        device = self.engine.device
        native = self.registry.load if device == "cpu" else PredictorLoader(device, cache_encoders)
        return ModelLoaders(native, load_estimator, find_graph)

    def close(self) -> None:
        """Stops the engine where one was started."""
        for name in ("engine", "_spark"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def _recorded(self) -> Callable[[Path], dict[str, str] | None] | None:
        if not (self.root / ".dvc").is_dir() or importlib.util.find_spec("dvc") is None:
            return None
        from batchdeploy.adapters.sources.dvc import recorded_md5s

        return partial(recorded_md5s, self.root)


def cache_encoders(model: Any) -> Any:
    """A scikit-learn model whose encoders are asked once for each distinct value of a batch."""
    from batchdeploy.adapters.accelerators import with_cached_encoders

    return with_cached_encoders(model)
