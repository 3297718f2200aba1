"""Scores splits with the runtime that the deployment names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


class LocalScorer:
    """A `Scorer` whose workers read Parquet files and load MLflow models.

    Args:
        tools: the toolbox, with deployment, registry and engine.
    """

    def __init__(self, tools: Toolbox) -> None:
        self._tools = tools

    def find_duplicates(
        self, job: ScoreJob, splits: Sequence[Split], results: Sequence[SplitResult]
    ) -> tuple[Split, ...]:
        """The splits that hold rows with duplicate keys, each with its duplicate rows listed."""
        from batchdeploy.adapters.parquet_splits import find_duplicates

        return find_duplicates(job, splits, results)

    def access_check(self, folders: AttemptFolders, splits: Sequence[Split]) -> WorkerCheck:
        """What each worker tries before the first task: to read the input, and to write where files go."""
        from batchdeploy.adapters.parquet_splits import access_check

        return access_check(folders, splits)

    def worker(self, job: ScoreJob) -> Callable[[Split], SplitResult]:
        """The picklable function that scores one split."""
        from batchdeploy.adapters.parquet_splits import score_split

        loaders, locate, device = self._loaders, self._tools.workers.locate, self._tools.engine.device
        if job.runtime_folder is None:
            return partial(score_split, job=job, load=LocatingLoader(locate, loaders.native))
        from batchdeploy.adapters.accelerators import AcceleratedLoader

        kind = self._tools.deployment.model.runtime
        loader = AcceleratedLoader(kind, job.runtime_folder, loaders, locate, job.threads, device)
        return partial(score_split, job=job, load=loader)

    def prepare(self, job: ScoreJob, model: Path, splits: Sequence[Split]) -> ScoreJob:
        """Probes the model, and builds and verifies what ``model.runtime`` needs; returns the job with it.

        Raises:
            ScoringRefused: the model crashes the process that loads it or predicts with it.
            RequestError, EngineError, ScoringRefused: the accelerator cannot be built, its predictions
                differ, and ``model.fallback`` is ``refuse``.
        """
        from batchdeploy.adapters.mlflow import Probe, probe_model
        from batchdeploy.adapters.parquet_splits import capture_output, printed_file, sample_frames

        samples, kind = partial(sample_frames, splits, job.spec), self._tools.deployment.model.runtime
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
            loaders = self._loaders._replace(call=partial(ModelCall, spec=job.spec))
            made = accelerators.build_or_fall_back(kind, model, into, samples, loaders, refuse=refuse)
        return replace(job, runtime_folder=self._tools.workers.distribute(into)) if made else job

    @property
    def _loaders(self) -> ModelLoaders:
        from batchdeploy.adapters.accelerators import ModelLoaders
        from batchdeploy.adapters.mlflow import PredictorLoader, find_graph, load_estimator

        device = self._tools.engine.device
        native = self._tools.fetcher.load if device == "cpu" else PredictorLoader(device, cache_encoders)
        return ModelLoaders(native, load_estimator, find_graph)


def _called_with(frame: Any, spec: ScoringSpec) -> tuple[Any, dict[str, Any]]:
    return model_input(frame, spec), call_params(spec)


def cache_encoders(model: Any) -> Any:
    """A scikit-learn model whose encoders transform each distinct value of a batch once."""
    from batchdeploy.adapters.accelerators import with_cached_encoders

    return with_cached_encoders(model)
