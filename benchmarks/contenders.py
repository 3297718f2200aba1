"""One contender on one workload: ``python contenders.py NAME PROJECT CORES`` prints the seconds it took.

Every contender scores the large partition and writes key and score to Parquet, with one native thread per
worker. Each warms up on the small partition first, so that start-up (JVM, workers, imports) is not measured.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from workloads import DAY, REPOSITORY, SMALL_DAY

Job = Callable[[str], int]
# Servers that last as long as the process.
OPEN = ExitStack()


def limit(root: Path, cores: int) -> Job:
    """The upper limit: one plain process per core without an engine; reads with pyarrow, predicts, writes."""
    pool = ProcessPoolExecutor(cores)
    list(pool.map(_model, [str(root)] * cores))

    def job(day: str) -> int:
        out = fresh(root / "out" / "limit")
        files = sorted((root / "data" / "rows" / f"date={day}").glob("*.parquet"))
        return sum(pool.map(_limit_file, [(str(root), str(file), str(out / file.name)) for file in files]))

    return job


def _limit_file(work: tuple[str, str, str]) -> int:
    root, source, target = work
    rows = 0
    with pq.ParquetFile(source) as file:
        writer = None
        for batch in file.iter_batches(batch_size=65_536):
            frame = batch.to_pandas()
            score = _model(root).predict_proba(frame.drop(columns=["id"]))[:, 1]
            table = pa.table({"id": batch.column("id"), "score": score})
            writer = writer or pq.ParquetWriter(target, table.schema)
            writer.write_table(table)
            rows += len(frame)
        if writer:
            writer.close()
    return rows


def load_model(root: str) -> Any:
    """The scikit-learn model, limited to one native thread."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
    return mlflow.sklearn.load_model("models:/speed@champion")


@cache
def _model(root: str) -> Any:
    """The model, loaded once per process."""
    return load_model(root)


def spark_udf(root: Path, cores: int) -> Job:
    """`mlflow.pyfunc.spark_udf`, as in MLflow's documentation."""
    import mlflow
    from pyspark.sql import functions

    spark = session(cores)
    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")

    def job(day: str) -> int:
        udf = mlflow.pyfunc.spark_udf(
            spark, "models:/speed@champion", result_type="array<double>", env_manager="local"
        )
        rows = spark.read.parquet(str(root / "data" / "rows" / f"date={day}"))
        features = [name for name in rows.columns if name != "id"]
        scored = rows.select("id", udf(functions.struct(*features))[1].alias("score"))
        scored.write.mode("overwrite").parquet(str(root / "out" / "spark_udf"))
        return rows.count()

    return job


def map_in_pandas(root: Path, cores: int) -> Job:
    """Hand-written Spark: broadcasts the model, and runs `mapInPandas` over the rows."""
    spark = session(cores)
    model = spark.sparkContext.broadcast(_model(str(root)))

    def score(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            score = model.value.predict_proba(frame.drop(columns=["id"]))[:, 1]
            yield pd.DataFrame({"id": frame["id"], "score": score})

    def job(day: str) -> int:
        rows = spark.read.parquet(str(root / "data" / "rows" / f"date={day}"))
        kind = dict(rows.dtypes)["id"]
        scored = rows.mapInPandas(score, f"id {kind}, score double")
        scored.write.mode("overwrite").parquet(str(root / "out" / "map_in_pandas"))
        return rows.count()

    return job


def ray_data(root: Path, cores: int) -> Job:
    """Ray Data: `map_batches` with a pool of actors, one core each."""
    import ray

    # One actor per core, and further slots for tasks that list, read and write files.
    ray.init(num_cpus=2 * cores, include_dashboard=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    place = str(root)

    class Scorer:
        def __init__(self) -> None:
            self.model = load_model(place)

        def __call__(self, batch: pa.Table) -> pa.Table:
            # Ray's frames have Arrow types, which scikit-learn does not accept with nulls.
            frame = batch.to_pandas()
            score = self.model.predict_proba(frame.drop(columns=["id"]))[:, 1]
            return pa.table({"id": batch.column("id"), "score": score})

    def job(day: str) -> int:
        source = str(root / "data" / "rows" / f"date={day}")
        rows = ray.data.read_parquet(source, partitioning=None)
        scored = rows.map_batches(
            Scorer, batch_format="pyarrow", batch_size=65_536, concurrency=cores, num_cpus=1
        )
        scored.write_parquet(str(fresh(root / "out" / "ray")))
        return sum(pq.read_metadata(file).num_rows for file in (root / "out" / "ray").glob("*.parquet"))

    return job


def score_only(root: Path, _cores: int, engine: str = "spark") -> Job:
    """Only the scoring stage of batchdeploy: stages, flushes, reconciles; does not validate or publish."""
    from batchdeploy.assembly import open_toolbox
    from batchdeploy.stages.score import score
    from batchdeploy.workflows.plan import plan

    tools = open_toolbox(root / "dags" / f"{engine}.yaml")

    def job(day: str) -> int:
        scored = score(plan(tools, day), tools.to_score(), now=datetime.now(UTC), done=lambda _: None)
        tools.publishing.staging.discard(scored.attempt)
        return scored.rows_scored

    return job


def whole_run(root: Path, _cores: int, engine: str = "spark") -> Job:
    """`batchdeploy run`: pins, validates, scores, measures drift, publishes, reports."""
    from batchdeploy.assembly import open_toolbox
    from batchdeploy.workflows.run import run

    tools = open_toolbox(root / "dags" / f"{engine}.yaml")
    return lambda day: run(tools, day, repeat=True).manifest.rows_scored


def from_s3(root: Path, cores: int) -> Job:
    """Only the scoring stage, by workers that read from S3: moto's server, in this process."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from faults.stores import s3
    from object_stores import CREDENTIALS, s3_bucket

    os.environ.update(CREDENTIALS)
    bucket = s3_bucket(OPEN.enter_context(s3()))
    for file in sorted((root / "data" / "rows").glob("*/*.parquet")):
        bucket.put(f"rows/{file.parent.name}/{file.name}", file.read_bytes())
    text = (root / "dags" / "spark.yaml").read_text().replace("scores/spark", "scores/s3")
    text = text.replace("path: data/rows", f"path: {bucket.uri}/rows")
    text += f"storage: {{endpoint: {bucket.storage.endpoint}, region: us-east-1}}\n"
    (root / "dags" / "s3.yaml").write_text(text)
    return score_only(root, cores, "s3")


def session(cores: int) -> Any:
    """A local Spark session with the same settings for every contender."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.master(f"local[{cores}]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "false").config("spark.driver.memory", "4g")
    return builder.config("spark.sql.execution.arrow.pyspark.enabled", "true").getOrCreate()


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


CONTENDERS: dict[str, Callable[[Path, int], Job]] = {
    "limit": limit,
    "spark_udf": spark_udf,
    "map_in_pandas": map_in_pandas,
    "ray_data": ray_data,
    "batchdeploy": score_only,
    "batchdeploy, whole run": whole_run,
    "batchdeploy, Spark reads": lambda root, cores: score_only(root, cores, "reads"),
    "batchdeploy, Spark reads, whole run": lambda root, cores: whole_run(root, cores, "reads"),
    "batchdeploy, from S3": from_s3,
    "batchdeploy, compiled": lambda root, cores: score_only(root, cores, "compiled"),
    "batchdeploy, compiled, whole run": lambda root, cores: whole_run(root, cores, "compiled"),
    "batchdeploy, local": lambda root, cores: score_only(root, cores, "local"),
    "batchdeploy, local, whole run": lambda root, cores: whole_run(root, cores, "local"),
}
# Who reads the rows, and where from: `speed.py A --name reads --only ...`.
ON_REQUEST = ("batchdeploy, Spark reads", "batchdeploy, Spark reads, whole run", "batchdeploy, from S3")


def main() -> None:
    """Runs one contender."""
    name, root, cores = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    job = CONTENDERS[name](root, cores)
    job(SMALL_DAY)
    start = time.perf_counter()
    rows = job(DAY)
    seconds = time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_mib": round(peak / 1024)}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
