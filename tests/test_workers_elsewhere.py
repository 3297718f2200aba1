"""What workers that see no file of this machine are sent, and what they read for it: without a JVM."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_stores import s3_bucket
from tests_support import SCHEMA, customers, edit
from tests_support import published_scores as scores

from batchdeploy.adapters.engines.local import LocalEngine
from batchdeploy.adapters.mlflow import probe
from batchdeploy.assembly import open_toolbox
from batchdeploy.core.work import Split
from batchdeploy.storage.object_inputs import TAIL_BYTES, PinnedObject
from batchdeploy.workflows.run import run as run_partition

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
SENT = "sent:"


class Elsewhere(LocalEngine):
    """Runs pickled work as Spark does, while the tables of this machine are away.

    Attributes:
        kinds: the function of each job.
        working: whether a job runs.
    """

    name = "spark"
    remote = True

    def __init__(self, table: Path, folder: Path) -> None:
        super().__init__()
        self.table, self.folder = table, folder
        self.kinds: list[str] = []
        self.working = False

    @property
    def locate(self) -> Callable[[str], str]:  # type: ignore[override]
        folder = str(self.folder)
        return lambda name: name if not name.startswith(SENT) else f"{folder}/{name.removeprefix(SENT)}"

    def distribute(self, folder: Path) -> str:
        target = self.folder / str(len([*self.folder.iterdir()]))
        shutil.copytree(folder, target)
        return f"{SENT}{target.name}"

    def map_splits(self, work: Any, splits: Sequence[Split]) -> Iterator[Any]:
        from pyspark import cloudpickle

        work, splits = cloudpickle.loads(cloudpickle.dumps((work, splits)))
        self.kinds.append(work.work.func.__name__)
        away = self.table.rename(self.table.with_suffix(".away"))
        self.working = True
        try:
            yield from list(super().map_splits(work, splits))
        finally:
            self.working = False
            away.rename(self.table)


def test_tables_of_lookups_are_sent_and_objects_are_read_there(
    project: Path,
    plain: Path,
    tmp_path: Path,
    s3_port: int,
    store_credentials: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket, table = s3_bucket(s3_port), project / "data" / "incomes.parquet"
    rows = pa.Table.from_pandas(customers(DAY), SCHEMA, preserve_index=False)
    pq.write_table(rows.select(["customer_id", "income"]), table)
    # Larger than what is read to find the footer.
    noise = pa.array([str(number) * 2_000 for number in range(len(rows))])
    options: Any = {"compression": "none", "use_dictionary": False}
    held = rows.drop_columns(["income"]).append_column("noise", noise)
    bucket.put(f"lake/date={DAY}/part-0.parquet", held, **options)
    endpoint = f"storage: {{endpoint: {bucket.storage.endpoint}, region: us-east-1}}"
    edit("path: data/customers", f"path: {bucket.uri}/lake")(project)
    edit("engine: {kind: local}", f"engine: {{kind: local}}\n{endpoint}")(project)
    edit("expectations: expectations/customers.json\n", "")(project)
    lookup = "{path: data/incomes.parquet, keys: [customer_id], columns: [income]}"
    edit("  keys:", f"  lookups: [{lookup}]\n  keys:")(project)
    box = open_toolbox(project / "dags" / "churn.yaml")
    (tmp_path / "there").mkdir()
    box.engine = engine = Elsewhere(table, tmp_path / "there")
    get, driver = PinnedObject._get, list[tuple[int, int]]()

    def counted(source: PinnedObject, start: int, end: int) -> bytes:
        if not engine.working and source.size > TAIL_BYTES:
            driver.append((start, source.size))
        return get(source, start, end)

    monkeypatch.setattr(PinnedObject, "_get", counted)
    # Other tests may have tried the model in this process.
    monkeypatch.setattr(probe, "PROBED", set())
    run_partition(box, DAY)
    assert engine.kinds == ["sample_frame", "score_split"]
    pd.testing.assert_frame_equal(scores(project), scores(plain))
    # The magic number and the end of the file, which holds its footer.
    assert {start for start, size in driver if start < size - TAIL_BYTES} <= {0}
