"""Which local tables of lookups are sent to workers, and where these read them."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchdeploy.adapters.parquet_splits import lookups, make_splits
from batchdeploy.adapters.parquet_splits.split_rows import SplitRows
from batchdeploy.adapters.sources.folder import FolderSource
from batchdeploy.adapters.sources.lookup_files import LookupFiles
from batchdeploy.adapters.sources.lookup_tables import LookupTables
from batchdeploy.adapters.sources.lookups import LookupSource
from batchdeploy.adapters.sources.table_files import TableFiles
from batchdeploy.assembly.lookups import send_lookups
from batchdeploy.assembly.reading import LocalReader
from batchdeploy.core.deployment import DataRef, LookupSpec, PartitionSpec
from batchdeploy.core.lookup_places import IN_PLACE, LocatingWork, LookupPlaces
from batchdeploy.core.pins import DataPin, FilePin, LookupPin
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.core.records import InputSchema
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.core.work import Split, WorkerCheck, WorkerReport
from batchdeploy.errors import DataError

MEBIBYTE = 1 << 20
NO_TABLES = LookupTables(opening={}, files=TableFiles(StorageSpec()))


@dataclass
class Workers:
    """Workers that get what is sent to them below a folder of their own."""

    locate: Callable[[str], str]
    sent: dict[str, bytes] = field(default_factory=dict)

    @property
    def remote(self) -> bool:
        return self.locate is not str

    def inspect(self, names: Sequence[str], check: WorkerCheck | None = None) -> tuple[WorkerReport, ...]:
        return ()

    def distribute(self, folder: Path) -> str:
        self.sent |= {file.name: file.read_bytes() for file in folder.iterdir()}
        return "sent:tables"


def located(name: str) -> str:
    return f"/worker/{name.removeprefix('sent:')}"


def pin(*locations: str, size: int = 1) -> LookupPin:
    files = tuple(FilePin(path=name, md5="m", size=size, location=name) for name in locations)
    return LookupPin(
        path="planes", keys=(("k", "k"),), columns=(("v", "v"),), as_of=None, until=None, files=files
    )


def test_local_files_are_sent_and_objects_are_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    here, workers = [str(tmp_path / name) for name in "ab"], Workers(located)
    pins = (pin(here[0], "s3://lake/x"), pin(here[1], here[0]))
    places = send_lookups(pins, workers, most_mib=1)
    assert workers.sent == {"0.parquet": b"a", "1.parquet": b"b"}
    found = [[file.location for file in there.files] for there in places(pins)]
    assert found == [
        ["/worker/tables/0.parquet", "s3://lake/x"],
        ["/worker/tables/1.parquet", "/worker/tables/0.parquet"],
    ]


@pytest.mark.parametrize(
    ("locate", "locations"), [(str, ("/here/a",)), (located, ("s3://lake/x",)), (located, ())]
)
def test_nothing_is_sent_that_workers_see(locate: Callable[[str], str], locations: tuple[str, ...]) -> None:
    workers, pins = Workers(locate), (pin(*locations, size=9 * MEBIBYTE),)
    assert send_lookups(pins, workers, most_mib=1) is IN_PLACE
    assert workers.sent == {}
    assert IN_PLACE(pins) is pins


def test_a_table_of_the_catalog_is_validated_with_what_was_sent(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    workers, joins = Workers(located), []
    spark: Any = SimpleNamespace(
        remote=True,
        locate=located,
        distribute=workers.distribute,
        frame=lambda *_, join, **__: joins.append(join),
    )
    data = DataPin(
        path="lake.rows",
        rev=None,
        tracked="catalog",
        digest="",
        files=(),
        lookups=(pin(str(tmp_path / "a")),),
    )
    said = SimpleNamespace(partition=PartitionSpec(column="date"), where=(), casts=None)
    deployment = SimpleNamespace(data=said, limits=LimitsSpec(), engine=SimpleNamespace(kind="spark"))
    plan: Any = SimpleNamespace(
        deployment=deployment, data=data, partition="2024-03-02", schema=InputSchema(columns=(), file_rows=())
    )
    tools: Any = SimpleNamespace(deployment=deployment)
    with LocalReader(tools, lambda: spark).frame(plan, None):
        assert workers.sent == {"0.parquet": b"a"}
    (join,) = joins
    (there,) = join.places(data.lookups)
    assert [file.location for file in there.files] == ["/worker/tables/0.parquet"]


class Moved(NamedTuple):
    """Gives a file in another folder."""

    folder: str

    def __call__(self, name: str) -> str:
        return f"{self.folder}/{name}"


def test_a_worker_reads_what_was_sent_and_not_what_is_there_now(tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    (data / "rows" / "date=2024-03-01").mkdir(parents=True)
    there.mkdir()
    pq.write_table(pa.table({"k": ["a", "b"]}), data / "rows" / "date=2024-03-01" / "part-0.parquet")
    pq.write_table(pa.table({"k": ["a"], "v": [1.5]}), data / "planes.parquet")
    lookup = LookupSpec(path="data/planes.parquet", keys=("k",), columns=("v",))
    ref = DataRef(path="data/rows", partition=PartitionSpec(column="date"), keys=("k",), lookups=(lookup,))
    source = LookupSource(FolderSource(tmp_path), LookupFiles(root=tmp_path), NO_TABLES)
    pinned = source.pin(ref, "2024-03-01")
    shutil.copy(data / "planes.parquet", there / "0.parquet")
    pq.write_table(pa.table({"k": ["a"], "v": [2.5]}), data / "planes.parquet")
    places = LookupPlaces(Moved(str(there)), ((str(data / "planes.parquet"), "0.parquet"),))
    (split,) = make_splits(pinned)
    reader = replace(split_reader(pinned), places=places)
    assert pickle.loads(pickle.dumps(reader))(split).column("v").to_pylist() == [1.5, None]
    seen = pickle.loads(pickle.dumps(LocatingWork(places, lookups_of)))(split)
    assert [file.location for file in seen[0].files] == [str(there / "0.parquet")]
    pq.write_table(pa.table({"k": ["a"], "v": [3.5]}), there / "0.parquet")
    lookups._INDEXES.clear()
    lookups._seen.cache_clear()
    with pytest.raises(DataError, match=r"data/planes\.parquet: changed since it was pinned"):
        reader(split)


def lookups_of(split: Split) -> tuple[LookupPin, ...]:
    return split.lookups


def split_reader(pinned: DataPin) -> SplitRows:
    kind = pa.schema({"k": pa.string(), "v": pa.float64()})
    return SplitRows(pin=replace(pinned, files=()), casts={}, schema=kind, instants=frozenset())


def test_a_table_that_is_too_large_to_send_is_refused() -> None:
    workers = Workers(located)
    with pytest.raises(DataError) as refused:
        send_lookups((pin("/here/a", "/here/b", size=MEBIBYTE),), workers, most_mib=1.5)
    assert "planes: is sent to the workers, and larger than limits.lookup_mib = 1.5, got 2 MiB" in str(
        refused.value
    )
    assert "put the table into an object store" in str(refused.value)
    assert workers.sent == {}
