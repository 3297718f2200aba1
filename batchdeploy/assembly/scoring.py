"""Scores splits with the runtime that the deployment names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from batchdeploy.assembly.lookups import send_lookups
from batchdeploy.core.lookup_places import LocatingWork, LookupPlaces
from batchdeploy.core.path_hints import is_remote
from batchdeploy.core.scoring_spec import ScoringSpec
from batchdeploy.core.work import (
    AttemptFolders,
    LocatingLoader,
    ScoreJob,
    Split,
    SplitResult,
    WorkerCheck,
)
from batchdeploy.host.packages import require
from batchdeploy.kernel.model_call import ModelCall, call_params, model_input
from batchdeploy.workflows.toolbox import Toolbox

if TYPE_CHECKING:
    from batchdeploy.adapters.accelerators import ModelLoaders
    from batchdeploy.assembly.engine_rows import SparkReadScorer


Result = TypeVar("Result")


class LocalScorer:
    """A `Scorer` whose workers read Parquet files and load MLflow models.

    Args:
        tools: the toolbox, with deployment, registry and engine.
        tables: reads the rows by Spark; samples tables of its catalog, whose files only Spark can read.
    """

    def __init__(self, tools: Toolbox, tables: SparkReadScorer | None = None) -> None:
        self._tools = tools
        self._tables = tables

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits that hold rows with duplicate keys, each with its duplicate rows listed."""
        from batchdeploy.adapters.parquet_splits import find_duplicates

        return find_duplicates(job, splits, results)

    def access_check(self, folders: AttemptFolders, splits: Sequence[Split]) -> WorkerCheck:
        """What each worker tries before the first task: to read the input, and to write where files go."""
        from batchdeploy.adapters.parquet_splits import access_check

        # Where Spark reads the rows, its workers do not open their files.
        return access_check(folders, splits if self._tables is None else ())

    def worker(self, job: ScoreJob) -> Callable[[Split], SplitResult]:
        """The picklable function that scores one split."""
        from batchdeploy.adapters.parquet_splits import score_split

        return self._locating(job, partial(score_split, job=job, load=model_loader(self._tools, job)))

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """Probes the model, builds and verifies what ``model.runtime`` needs, and sends local lookups.

        Returns the job with what was made and sent.

        Raises:
            ScoringRefused: the model crashes the process that loads it or predicts with it.
            RequestError, EngineError, ScoringRefused: the accelerator cannot be built, its predictions
                differ, and ``model.fallback`` is ``refuse``.
        """
        from batchdeploy.adapters.mlflow import Probe, probe_model
        from batchdeploy.adapters.parquet_splits import capture_output, printed_file

        job = self._with_lookups(job, splits)
        samples, kind = partial(self._samples, job, splits), self._tools.deployment.model.runtime
        if self._tables is not None and self._tools.deployment.data.format == "catalog":
            samples = partial(self._tables.sample_table, self._tools.deployment.data.path, splits, job)
        seconds = self._tools.deployment.limits.model_seconds
        where = f"model {self._tools.deployment.model.name} version {job.spec.model_version}"
        convert = partial(_called_with, spec=job.spec)
        with printed_file(job.folders, "first-load.txt") as file:
            probe_model(Probe(where, model, seconds, file, convert), samples)
        if kind == "native":
            return job
        require(kind, self._tools.deployment)
        from batchdeploy.adapters import accelerators

        into = self._tools.layout.models / accelerators.artifact_name(kind, job.model_digest)
        refuse = self._tools.deployment.model.fallback == "refuse"
        with printed_file(job.folders, "prepare.txt") as file, capture_output(file):
            loaders = _loaders(self._tools)._replace(call=partial(ModelCall, spec=job.spec))
            made = accelerators.build_or_fall_back(kind, model, into, samples, loaders, refuse=refuse)
        return replace(job, runtime_folder=self._tools.workers.distribute(into)) if made else job

    def _samples(self, job: ScoreJob, splits: Sequence[Split]) -> Iterator[Any]:
        """Frames of the model's inputs from splits across the partition; Spark's workers read objects."""
        from batchdeploy.adapters.parquet_splits import sample_frame, sampled

        work, chosen = partial(sample_frame, spec=job.spec), sampled(splits)
        if self._tools.engine.name == "spark" and any(is_remote(split.location) for split in chosen):
            frames: Iterable[Any] = self._tools.engine.map_splits(self._locating(job, work), chosen)
        else:
            frames = map(work, chosen)
        return (frame for frame in frames if frame is not None)

    def _locating(self, job: ScoreJob, work: Callable[[Split], Result]) -> Callable[[Split], Result]:
        """The work on a split with its lookups where workers have them."""
        if not job.lookups_sent:
            return work
        return LocatingWork(LookupPlaces(self._tools.workers.locate, job.lookups_sent), work)

    def _with_lookups(self, job: ScoreJob, splits: Sequence[Split]) -> ScoreJob:
        """The job with the lookups that were sent to workers which may not see this machine's files."""
        pins = splits[0].lookups if splits else ()
        most = self._tools.deployment.limits.lookup_mib
        return replace(job, lookups_sent=send_lookups(pins, self._tools.workers, most_mib=most).sent)


def model_loader(tools: Toolbox, job: ScoreJob) -> Callable[[str], Callable[[Any], Any]]:
    """The picklable function that loads a job's model on a worker, in the runtime that the job names."""
    loaders, locate, device = _loaders(tools), tools.workers.locate, tools.engine.device
    if job.runtime_folder is None:
        return LocatingLoader(locate, loaders.native)
    from batchdeploy.adapters.accelerators import AcceleratedLoader

    kind = tools.deployment.model.runtime
    return AcceleratedLoader(kind, job.runtime_folder, loaders, locate, job.threads, device)


def _loaders(tools: Toolbox) -> ModelLoaders:
    from batchdeploy.adapters.accelerators import ModelLoaders
    from batchdeploy.adapters.mlflow import PredictorLoader, find_graph, load_estimator

    device = tools.engine.device
    native = tools.fetcher.load if device == "cpu" else PredictorLoader(device, cache_encoders)
    return ModelLoaders(native, load_estimator, find_graph)


def _called_with(frame: Any, spec: ScoringSpec) -> tuple[Any, dict[str, Any]]:
    return model_input(frame, spec), call_params(spec)


def cache_encoders(model: Any) -> Any:
    """A scikit-learn model whose encoders transform each distinct value of a batch once."""
    from batchdeploy.adapters.accelerators import with_cached_encoders

    return with_cached_encoders(model)
