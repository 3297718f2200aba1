"""What a validator gets to see of a partition."""

from __future__ import annotations

from pathlib import Path

from tests_support import customers, write_day

from batchdeploy.adapters.folder_store import FolderStore
from batchdeploy.adapters.parquet_splits import read_frame
from batchdeploy.core.deployment import DataRef, PartitionSpec
from batchdeploy.core.predicates import Predicate

REF = DataRef(path="data", partition=PartitionSpec(column="date"), keys=("customer_id",))


def test_only_the_columns_that_are_looked_at_are_read(tmp_path: Path) -> None:
    rows = customers("2024-01-01", 50)
    write_day(tmp_path / "data", "2024-01-01", rows)
    pin = FolderStore(tmp_path).pin(REF, "2024-01-01")
    partition = ("date", "2024-01-01")
    whole = read_frame(pin, partition)
    some = read_frame(pin, partition, columns={"age", "no_such_column"})
    assert list(some) == ["age", "date"]
    assert some["age"].equals(whole["age"])
    assert len(read_frame(pin, partition, columns=frozenset())) == 50
    where = (Predicate(column="income", op="gt", value=float(rows["income"].median())),)
    meant = read_frame(pin, partition, where, columns={"age"})
    assert meant["age"].tolist() == read_frame(pin, partition, where)["age"].tolist()
    assert 0 < len(meant) < 50
