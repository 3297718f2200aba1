"""The whole way on both engines: the same test body, the same results."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests_support import (
    FEATURES,
    SCHEMA,
    TALK,
    customers,
    move_alias,
    register_coded,
    talking,
    write_day,
)

import batchdeploy as bd
from batchdeploy.assembly import LocalToolbox, open_toolbox, records_in
from batchdeploy.core.records import CheckReport, ScoredBatch
from batchdeploy.core.work import Split, SplitResult
from batchdeploy.documents import from_json, to_json
from batchdeploy.errors import (
    ContractError,
    EngineError,
    PartitionError,
    ScoringRefused,
    ValidationRefused,
)
from batchdeploy.workflows.plan import plan as plan_partition
from batchdeploy.workflows.run import execute
from batchdeploy.workflows.run import run as run_partition
from batchdeploy.workflows.run_folders import run_folder

DAY = "2024-03-02"


@pytest.fixture(scope="module")
def spark(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Spark session for all tests of this file, on what ``--spark`` says."""
    from spark_clusters import engine_on

    with engine_on(request.config.getoption("--spark"), tmp_path_factory.mktemp("spark")) as engine:
        yield engine


@pytest.fixture(
    params=[pytest.param("local", marks=pytest.mark.slow), pytest.param("spark", marks=pytest.mark.jvm)]
)
def tools(request: pytest.FixtureRequest, deployment: Path) -> LocalToolbox:
    """The project's toolbox on one engine and then the other."""
    text = deployment.read_text(encoding="utf-8").replace("kind: local", f"kind: {request.param}")
    text = text.replace("kind: spark", f"kind: spark, read: {request.config.getoption('--read')}")
    deployment.write_text(text, encoding="utf-8")
    box = open_toolbox(deployment)
    if request.param == "spark":
        box.spark = request.getfixturevalue("spark")
        box.reader.one_machine_cells = 0
    return box


def need_splits(tools: LocalToolbox) -> None:
    """Skips a test of what only holds where workers read their splits themselves."""
    if tools.deployment.engine.read == "spark":
        pytest.skip("Spark divides the rows itself")


def scores(tools: LocalToolbox, day: str = DAY) -> pd.DataFrame:
    """The published rows, by plain pandas."""
    frame = pd.read_parquet(tools.layout.partition_dir(f"date={day}"))
    return frame.sort_values("customer_id", ignore_index=True)


def tree(root: Path) -> dict[str, str]:
    """Every file below a folder with its digest."""
    files = [file for file in root.rglob("*") if file.is_file()]
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def by_mlflow(tools: LocalToolbox, rows: pd.DataFrame) -> Any:
    """What MLflow itself answers for these rows."""
    import mlflow

    frame = rows[FEATURES].astype({"member": object})
    frame["member"] = frame["member"].where(frame["member"].notna(), None)
    mlflow.set_tracking_uri(tools.registry_uris.tracking)
    return mlflow.pyfunc.load_model("models:/churn/1").predict(frame)[:, 1]


def spread(tools: LocalToolbox, frame: pd.DataFrame, *, files: int) -> None:
    """The partition as several files of several row groups."""
    folder = tools.root / "data" / "customers" / f"date={DAY}"
    size = len(frame) // files
    for number in range(files):
        part = frame.iloc[number * size : (number + 1) * size]
        table = pa.Table.from_pandas(part, schema=SCHEMA, preserve_index=False)
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=250)


def rewrite(
    tools: LocalToolbox, change: Callable[[pd.DataFrame], pd.DataFrame], schema: pa.Schema = SCHEMA
) -> None:
    """The partition with other rows."""
    write_day(tools.root / "data" / "customers", DAY, change(customers(DAY)), schema)


def test_every_row_is_scored_once_as_mlflow_itself_would(tools: LocalToolbox) -> None:
    outcome = run_partition(tools, DAY)
    assert outcome.status == "published"
    assert (outcome.manifest.rows_scored, outcome.manifest.rows_quarantined) == (200, 0)
    found = scores(tools)
    given = customers(DAY).sort_values("customer_id", ignore_index=True)
    assert found["customer_id"].tolist() == given["customer_id"].tolist()
    assert found["city"].tolist() == given["city"].tolist()
    assert np.abs(found["churn_probability"] - by_mlflow(tools, given)).max() <= 1e-9
    assert set(found["_model_version"]) == {1}
    assert set(found["_run_id"]) == {outcome.manifest.run_id}


def test_leaves_records_of_all_it_did_and_a_clean_public_tree(tools: LocalToolbox) -> None:
    outcome = run_partition(tools, DAY)
    names = {"plan.json", "check.json", "scored.json", "drift.json", "manifest.json", "report.html"}
    assert {file.name for file in outcome.folder.iterdir() if file.is_file()} == names
    for file in tools.layout.table.rglob("*"):
        assert re.fullmatch(
            r"date=2024-03-02(/part-\d{5}-[0-9a-f]{16}\.parquet)?", str(file.relative_to(tools.layout.table))
        )
    for written in outcome.manifest.files:
        file = tools.layout.partition_dir(f"date={DAY}") / written.path
        assert hashlib.sha256(file.read_bytes()).hexdigest() == written.sha256
        assert pq.read_metadata(file).num_rows == written.rows
    drift = pd.read_parquet(tools.layout.drift(f"date={DAY}", outcome.manifest.run_id))
    assert set(drift["column"]) == {*FEATURES, "churn_probability"}
    assert list(tools.layout.staging.iterdir()) == []


def test_nothing_depends_on_how_the_rows_are_split(tools: LocalToolbox) -> None:
    """Three files of several row groups, on either engine."""
    frame = customers(DAY, 3_000)
    spread(tools, frame, files=3)
    outcome = run_partition(tools, DAY)
    if tools.deployment.engine.read == "splits":
        assert [file.rows for file in outcome.manifest.files] == [1_000, 1_000, 1_000]
    found = scores(tools)
    given = frame.sort_values("customer_id", ignore_index=True)
    assert found["customer_id"].tolist() == given["customer_id"].tolist()
    assert np.abs(found["churn_probability"] - by_mlflow(tools, given)).max() <= 1e-9
    hashes = pd.util.hash_pandas_object(frame[["customer_id"]], index=False)
    assert outcome.manifest.keys == f"{int(hashes.to_numpy().sum(dtype='uint64')):016x}"


def test_the_same_pins_again_do_nothing(tools: LocalToolbox) -> None:
    first = run_partition(tools, DAY)
    before = tree(tools.layout.table) | tree(tools.layout.control)
    second = run_partition(tools, DAY)
    assert (second.status, second.manifest) == ("identical", first.manifest)
    assert tree(tools.layout.table) | tree(tools.layout.control) == before
    repeated = run_partition(tools, DAY, repeat=True)
    assert repeated.status == "published"
    assert repeated.manifest.run_id == first.manifest.run_id
    assert len(scores(tools)) == 200


def test_a_moved_alias_is_a_change_that_names_both_versions(tools: LocalToolbox) -> None:
    run_partition(tools, DAY)
    move_alias(tools.root, "champion", 2)
    planned = plan_partition(tools, DAY)
    assert planned.state == "changed"
    assert planned.changes == ("model churn version 1 → churn version 2",)
    run_partition(tools, DAY)
    assert set(scores(tools)["_model_version"]) == {2}


def test_changed_rows_are_a_change(tools: LocalToolbox) -> None:
    run_partition(tools, DAY)
    rewrite(tools, lambda frame: frame.head(150))
    assert plan_partition(tools, DAY).changes == ("the input files (200 rows before)",)
    run_partition(tools, DAY)
    assert len(scores(tools)) == 150


def test_a_failed_expectation_blocks_with_evidence_and_mended_data_go_through(tools: LocalToolbox) -> None:
    rewrite(tools, lambda frame: frame.assign(age=frame["age"].where(frame.index != 3, 400)))
    with pytest.raises(ValidationRefused, match=r"1 of 200 rows, such as 400\.0") as caught:
        run_partition(tools, DAY)
    assert caught.value.exit_code == 1
    folder = run_folder(tools, plan_partition(tools, DAY))
    assert {file.name for file in folder.iterdir() if file.is_file()} == {
        "plan.json",
        "check.json",
        "refusal.json",
        "report.html",
    }
    assert "Nothing was published" in (folder / "report.html").read_text(encoding="utf-8")
    assert not tools.layout.table.exists()
    rewrite(tools, lambda frame: frame)
    assert run_partition(tools, DAY).status == "published"


def test_nan_counts_as_null_on_either_engine(tools: LocalToolbox) -> None:
    rewrite(tools, lambda frame: frame.assign(income=np.nan))
    outcome = run_partition(tools, DAY)
    assert outcome.manifest.warnings == ("income: expect_column_values_to_not_be_null",)
    result = records_in(outcome.folder).read("", CheckReport).results[2]
    assert (result.success, result.unexpected) == (False, 200)


def test_bad_rows_are_quarantined_and_the_others_published(tools: LocalToolbox) -> None:
    schema = SCHEMA.set(3, pa.field("visits", pa.int64(), nullable=True))

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(visits=frame["visits"].astype("Int64").mask(frame.index == 5))

    rewrite(tools, spoil, schema)
    outcome = run_partition(tools, DAY)
    assert (outcome.manifest.rows_scored, outcome.manifest.rows_quarantined) == (199, 1)
    run = tools.layout.quarantine(f"date={DAY}", outcome.manifest.run_id)
    quarantined = pd.read_parquet(run)
    assert quarantined["customer_id"].tolist() == [f"{DAY}-0005"]
    assert quarantined["_reason"].tolist() == ["null in the integer feature visits"]
    assert quarantined["_source_file"].tolist() == [f"date={DAY}/part-0.parquet"]
    assert quarantined["_source_row"].tolist() == [5]
    assert f"{DAY}-0005" not in set(scores(tools)["customer_id"])


def test_too_many_bad_rows_are_refused(tools: LocalToolbox) -> None:
    schema = SCHEMA.set(3, pa.field("visits", pa.int64(), nullable=True))
    rewrite(tools, lambda f: f.assign(visits=f["visits"].astype("Int64").mask(f.index < 3)), schema)
    with pytest.raises(ScoringRefused, match=r"3 of 200 rows quarantined \(1\.5%, allowed 1\.0%\)"):
        run_partition(tools, DAY)
    assert not tools.layout.table.exists()
    assert list(tools.layout.staging.iterdir()) == []


def test_rows_that_were_refused_are_kept_to_be_mended(tools: LocalToolbox) -> None:
    schema = SCHEMA.set(3, pa.field("visits", pa.int64(), nullable=True))
    rewrite(tools, lambda f: f.assign(visits=f["visits"].astype("Int64").mask(f.index < 3)), schema)
    with pytest.raises(ScoringRefused):
        run_partition(tools, DAY)
    planned = plan_partition(tools, DAY)
    quarantined = pd.read_parquet(tools.layout.quarantine(planned.folder, planned.run_id))
    assert quarantined["_source_row"].tolist() == [0, 1, 2]
    assert "Not published" in (run_folder(tools, planned) / "report.html").read_text()


def test_files_written_by_different_writers_are_one_partition(tools: LocalToolbox) -> None:
    """Another column order, another nullability, dictionary-encoded and large strings."""
    frame = customers(DAY)
    folder = tools.root / "data" / "customers" / f"date={DAY}"
    first = pa.Table.from_pandas(frame.head(100), schema=SCHEMA, preserve_index=False)
    second = pa.Table.from_pandas(frame.tail(100), schema=SCHEMA, preserve_index=False)
    second = second.select(list(reversed(second.column_names)))
    city = second.column_names.index("city")
    second = second.set_column(city, "city", second["city"].dictionary_encode())
    key = second.column_names.index("customer_id")
    second = second.set_column(
        key,
        pa.field("customer_id", pa.large_string(), nullable=False),
        second["customer_id"].cast("large_string"),
    )
    pq.write_table(first, folder / "part-0.parquet")
    pq.write_table(second, folder / "part-1.parquet")
    run_partition(tools, DAY)
    found = scores(tools)
    assert len(found) == 200
    assert np.abs(found["churn_probability"] - by_mlflow(tools, frame)).max() <= 1e-9


@pytest.mark.parametrize("legacy", [False, True], ids=["nanoseconds", "int96"])
def test_timestamps_are_taken_as_pandas_and_as_spark_write_them(tools: LocalToolbox, legacy: bool) -> None:
    """pandas writes nanoseconds by default and Spark INT96, which reach into other centuries."""
    if legacy:
        need_splits(tools)
    unit, first = ("us", "3000-01-01T00:00:01.5") if legacy else ("ns", "1700-01-01T00:00:00.000001")
    times = np.datetime64(first, unit) + np.arange(200) * np.timedelta64(1, "D")
    table = pa.Table.from_pandas(customers(DAY), schema=SCHEMA, preserve_index=False)
    table = table.append_column("at", pa.array(times))
    file = tools.root / "data" / "customers" / f"date={DAY}" / "part-0.parquet"
    pq.write_table(table, file, use_deprecated_int96_timestamps=legacy)
    later = "3000-01-01T00:00:00" if legacy else "1700-01-01T00:00:00"
    suite = tools.root / "expectations" / "customers.json"
    rule = {"type": "expect_column_values_to_be_between", "meta": {"level": "block"}}
    written = {"name": "times", "expectations": [rule | {"kwargs": {"column": "at", "min_value": later}}]}
    suite.write_text(json.dumps(written), encoding="utf-8")
    tools.deployment = replace(tools.deployment, output=replace(tools.deployment.output, keep=("at",)))
    outcome = run_partition(tools, DAY)
    assert outcome.manifest.rows_scored == 200
    published = pa.concat_tables(
        pq.read_table(tools.layout.partition_dir(f"date={DAY}") / f.path) for f in outcome.manifest.files
    )
    assert published.schema.field("at").type == pa.timestamp("us")
    assert sorted(published["at"].to_pylist()) == times.astype("M8[us]").tolist()


def test_a_flipped_bit_is_found_and_names_its_file(tools: LocalToolbox) -> None:
    file = tools.root / "data" / "customers" / f"date={DAY}" / "part-0.parquet"
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table, file, write_page_checksum=True, compression="none")
    income = pq.read_metadata(file).row_group(0).column(2)
    raw = bytearray(file.read_bytes())
    start = income.dictionary_page_offset or income.data_page_offset
    raw[start + income.total_compressed_size - 20] ^= 0xFF
    file.write_bytes(raw)
    tools.deployment = replace(tools.deployment, expectations=None)
    with pytest.raises(bd.RequestError, match=r"part-0\.parquet: its pages cannot be read"):
        run_partition(tools, DAY)
    assert not tools.layout.table.exists()


def test_a_repeat_that_is_refused_leaves_no_report_that_says_published(tools: LocalToolbox) -> None:
    outcome = run_partition(tools, DAY)
    assert tools.deployment.drift is not None
    planned = plan_partition(tools, DAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(tools.reader), "make_splits", _refusing)
        with pytest.raises(ScoringRefused):
            execute(tools, planned, repeat=True)
    refused = max((outcome.folder / "attempts").iterdir(), key=lambda folder: folder.stat().st_mtime)
    assert "Not published" in (refused / "report.html").read_text(encoding="utf-8")
    assert "Not published" not in (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert len(scores(tools)) == 200


def _refusing(self: LocalToolbox, pin: Any) -> Any:
    raise ScoringRefused("the kernel", "refused")


def test_a_failure_while_publishing_does_not_block_the_table(tools: LocalToolbox) -> None:
    from batchdeploy.publishing import journal

    def failing(*arguments: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "move_new", failing)
        with pytest.raises(bd.OutsideError):
            run_partition(tools, DAY)
    assert run_partition(tools, DAY).status == "published"
    assert run_partition(tools, "2024-03-01").status == "published"


def test_an_input_that_changes_while_it_is_scored_is_not_published(tools: LocalToolbox) -> None:
    planned = plan_partition(tools, DAY)
    rewrite(tools, lambda frame: frame.assign(age=frame["age"] + 1))
    with pytest.raises(bd.RequestError, match="changed since it was pinned"):
        execute(tools, planned)
    assert not tools.layout.table.exists()


def test_the_right_number_of_wrong_keys_is_noticed(tools: LocalToolbox) -> None:
    """The checksum's teeth: as many rows as there should be, but one of them twice and one missing."""
    need_splits(tools)
    planned = plan_partition(tools, DAY)
    honest = tools.scorer.worker

    def lying(job: Any) -> Any:
        work = honest(job)

        def lie(split: Split) -> SplitResult:
            result = work(split)
            return replace(result, keys_out=result.keys_out ^ 1)

        return lie

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tools.scorer, "worker", lying)
        with pytest.raises(EngineError, match="keys written: checksum"):
            execute(tools, planned)


def test_an_output_that_was_not_declared_is_refused_before_any_row(tools: LocalToolbox) -> None:
    output = replace(tools.deployment.output, columns={"churn_probability": "double"})
    tools.deployment = replace(tools.deployment, output=output)
    with pytest.raises(ContractError, match="1 declared, the model returns 2"):
        run_partition(tools, DAY)


SPLIT = Split(index=0, path="p", location="l", row_groups=(0,), first_row=0, rows=1)


def test_a_refusal_inside_a_worker_arrives_as_it_was_raised(tools: LocalToolbox) -> None:
    def refuse(split: Split) -> SplitResult:
        raise ScoringRefused("a worker", "a row at fault")

    with pytest.raises(ScoringRefused, match="a row at fault"):
        list(tools.engine.map_splits(refuse, [SPLIT]))


@pytest.mark.jvm
def test_an_accident_inside_a_worker_is_an_engine_error(spark: Any) -> None:
    def crash(split: Split) -> SplitResult:
        raise ZeroDivisionError(split.path)

    with pytest.raises(EngineError, match="ZeroDivisionError"):
        list(spark.map_splits(crash, [SPLIT]))


@pytest.mark.jvm
def test_a_worker_that_dies_is_an_engine_error(spark: Any) -> None:
    """The JVM tells it by an exception that PySpark has no class for."""

    def die(split: Split) -> SplitResult:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError(split)

    with pytest.raises(EngineError, match="a worker's process died while it scored"):
        list(spark.map_splits(die, [SPLIT]))


def test_rows_that_go_missing_on_the_way_are_noticed(
    tools: LocalToolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle's teeth: an engine that forgets a split; one that answers twice is heard once."""
    need_splits(tools)
    planned = plan_partition(tools, DAY)
    whole = tools.reader.make_splits(planned.data)
    monkeypatch.setattr(tools.reader, "make_splits", lambda pin: ())
    with pytest.raises(EngineError, match="rows read: the footers have 200"):
        execute(tools, planned)
    assert not tools.layout.table.exists()
    monkeypatch.setattr(tools.reader, "make_splits", lambda pin: whole + whole)
    assert execute(tools, planned).manifest.rows_scored == 200
    assert len(scores(tools)) == 200


def test_a_model_is_loaded_once_in_a_worker(tools: LocalToolbox) -> None:
    spread(tools, customers(DAY, 1_000), files=8)
    outcome = run_partition(tools, DAY)
    assert records_in(outcome.folder).read("", ScoredBatch).model_loads <= 2


def test_versions_that_bring_modules_of_one_name_answer_with_their_own(tools: LocalToolbox) -> None:
    """Workers stay, and what an earlier model imported there must not stay with them."""
    file = tools.root / "dags" / "churn.yaml"
    text = file.read_text(encoding="utf-8")
    text = text.replace("churn_probability: {type: double, select: 1}", "y: double")
    file.write_text(text.replace("drift: {reference: data/reference/churn.json}\n", ""), encoding="utf-8")
    box = open_toolbox(file)
    if "spark" in tools.__dict__:
        box.spark = tools.spark
        box.reader.one_machine_cells = 0
    spread(box, customers(DAY, 1_000), files=8)
    for factor in (2, 3):
        version = register_coded(box.root, factor)
        manifest = run_partition(box, DAY).manifest
        assert manifest.model_version == version
        published = scores(box).merge(customers(DAY, 1_000), on="customer_id")
        assert (published["y"] == factor * published["age"]).all()


def test_what_a_model_prints_is_kept_with_the_run(
    tools: LocalToolbox, capfd: pytest.CaptureFixture[str]
) -> None:
    box = open_toolbox(talking(tools.root))
    if "spark" in tools.__dict__:
        box.spark = tools.spark
        box.reader.one_machine_cells = 0
    capfd.readouterr()
    run = bd.Job(box).run(DAY)
    assert set(run.printed.splitlines()) == {*TALK}
    assert not {*TALK} & {*capfd.readouterr().out.splitlines()}


def test_a_backfill_is_one_session_and_can_be_resumed(tools: LocalToolbox) -> None:
    job = bd.Job(tools)
    run_partition(tools, DAY)
    runs = job.backfill("2024-03-01", "2024-03-03")
    assert [run.status for run in runs] == ["published", "identical", "published"]
    assert [run.manifest.partition for run in runs] == ["2024-03-01", DAY, "2024-03-03"]
    with pytest.raises(PartitionError, match="no partition in this range"):
        job.backfill("2030-01-01", "2030-12-31")


def test_drift_that_blocks_leaves_its_evidence(tools: LocalToolbox) -> None:
    assert tools.deployment.drift is not None
    tools.deployment = replace(tools.deployment, drift=replace(tools.deployment.drift, on_alarm="block"))
    rewrite(tools, lambda frame: frame.assign(city="Paris"))
    with pytest.raises(bd.GateRefused, match=r"city: 100\.0% of `city` is in unseen categories"):
        run_partition(tools, DAY)
    folder = run_folder(tools, plan_partition(tools, DAY))
    assert json.loads((folder / "drift.json").read_text())["verdict"] == "critical"
    assert not tools.layout.table.exists()
    assert list(tools.layout.staging.iterdir()) == []


def test_a_plan_that_was_tampered_with_is_not_validated(tools: LocalToolbox) -> None:
    planned = plan_partition(tools, DAY)
    assert from_json(type(planned), to_json(planned), where="x") == planned
    suite = tools.root / "expectations" / "customers.json"
    suite.write_text(suite.read_text().replace("120", "130"))
    with pytest.raises(bd.RequestError, match="changed since it was planned"):
        execute(tools, planned)


def test_files_that_spark_cannot_open_by_their_names_are_validated_and_scored(tools: LocalToolbox) -> None:
    need_splits(tools)
    spread(tools, customers(DAY, 1000), files=4)
    folder = tools.root / "data" / "customers" / f"date={DAY}"
    for file, name in zip(sorted(folder.iterdir()), ("a:b", "c", "d:e", "f"), strict=True):
        file.rename(folder / f"{name}.parquet")
    outcome = run_partition(tools, DAY)
    assert outcome.manifest.rows_scored == 1000
    results = records_in(outcome.folder).read("", CheckReport).results
    assert {result.evaluated for result in results if result.evaluated is not None} == {1000}


def test_only_the_rows_matching_where_are_scored_and_validated(tools: LocalToolbox) -> None:
    """Of five files; a duplicate among excluded rows does not count, one among the others is named."""
    spread(tools, customers(DAY, 1000), files=5)
    frame = customers(DAY, 1000)
    frame.loc[3, "customer_id"] = frame.loc[900, "customer_id"]
    frame.loc[[3, 900], "age"] = 50.0
    frame.loc[5, "customer_id"] = frame.loc[901, "customer_id"]
    frame.loc[[5, 901], "age"] = [50.0, 20.0]
    frame.loc[7, "age"] = 500.0
    frame.loc[7, "city"] = "Bern"
    spread(tools, frame, files=5)
    where = "  where: [{column: age, op: ge, value: 40}, {column: city, op: not_in, value: [Bern]}]\n"
    file = tools.root / "dags" / "churn.yaml"
    text = file.read_text(encoding="utf-8").replace("  keys:", where + "  keys:")
    text += "quarantine: {max_share: 0.1}\n"
    file.write_text(text, encoding="utf-8")
    suite = tools.root / "expectations" / "customers.json"
    entries = json.loads(suite.read_text(encoding="utf-8"))
    entries["expectations"] = [e for e in entries["expectations"] if e["kwargs"]["column"] == "age"]
    suite.write_text(json.dumps(entries), encoding="utf-8")
    box = open_toolbox(file)
    if "spark" in tools.__dict__:
        box.spark = tools.spark
        box.reader.one_machine_cells = 0
    manifest = run_partition(box, DAY).manifest
    meant = frame[(frame["age"] >= 40) & (frame["city"] != "Bern")]
    twice = meant[meant.duplicated("customer_id", keep=False)]
    assert (manifest.rows_in, manifest.rows_left_out) == (len(meant), 1000 - len(meant))
    assert manifest.rows_quarantined == len(twice)
    assert sorted(scores(box)["customer_id"]) == sorted(meant.drop(twice.index)["customer_id"])
    assert sorted(twice.index) == [3, 900]
    quarantined = pd.read_parquet(box.layout.control / "quarantine")
    at = [
        (int(f[-9]), r) for f, r in zip(quarantined["_source_file"], quarantined["_source_row"], strict=True)
    ]
    assert sorted(number * 200 + row for number, row in at) == [3, 900]


def test_declared_casts_are_the_same_on_either_engine(tools: LocalToolbox) -> None:
    """Rows are validated and scored with the types after the casts; what is lost is quarantined."""
    day = customers(DAY)
    texts = [repr(age) for age in day["age"]]
    texts[3] = "unknown"
    folder = tools.root / "data" / "customers" / f"date={DAY}"
    table = pa.Table.from_pandas(day, schema=SCHEMA, preserve_index=False)
    times = pa.array(range(1_000_000_000, 1_000_000_000 + len(day)), pa.timestamp("ns"))
    for name, values in (
        ("age", pa.array(texts)),
        ("visits", table["visits"].cast(pa.decimal128(21, 2))),
        ("seen", times),
    ):
        place = table.schema.get_field_index(name)
        table = table.append_column(name, values) if place < 0 else table.set_column(place, name, values)
    pq.write_table(table, folder / "part-0.parquet")
    file = tools.root / "dags" / "churn.yaml"
    casts = "casts: {age: double, visits: long, seen: timestamp}\n  where: [{column: age, op: ge, value: 0}]"
    text = file.read_text(encoding="utf-8").replace("  keys:", f"  {casts}\n  keys:")
    file.write_text(text + "quarantine: {max_share: 0.1}\n", encoding="utf-8")
    suite = tools.root / "expectations" / "customers.json"
    entries = json.loads(suite.read_text(encoding="utf-8"))
    entries["expectations"] += [
        {
            "type": "expect_column_values_to_not_be_null",
            "kwargs": {"column": column},
            "meta": {"level": "warn"},
        }
        for column in ("visits", "seen")
    ]
    suite.write_text(json.dumps(entries), encoding="utf-8")
    box = open_toolbox(file)
    if "spark" in tools.__dict__:
        box.spark = tools.spark
        box.reader.one_machine_cells = 0
    outcome = run_partition(box, DAY)
    rest = day.drop(3).sort_values("customer_id", ignore_index=True)
    assert outcome.manifest.rows_quarantined == 1
    np.testing.assert_allclose(scores(box)["churn_probability"], by_mlflow(box, rest), rtol=0, atol=1e-12)
    records = records_in(outcome.folder)
    results = {r.column: r for r in records.read("", CheckReport).results}
    assert (results["age"].success, results["age"].evaluated) == (True, len(rest))
    assert (results["visits"].success, results["seen"].unexpected) == (True, len(rest) - 1)
    scored = records.read("", ScoredBatch)
    assert {count.column: (count.values, count.lost) for count in scored.casts} == {
        "age": (len(day), 1),
        "visits": (len(day), 0),
    }


def test_looked_up_columns_are_the_same_on_either_engine(tools: LocalToolbox) -> None:
    """Validated and scored as the rows' own, whatever their types; a key without a row has nulls."""
    rows, file = customers(DAY), tools.root / "dags" / "churn.yaml"
    table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False)
    rewrite(tools, lambda frame: frame, pa.schema([f for f in SCHEMA if f.name not in ("income", "visits")]))
    later = table.set_column(2, "income", pa.repeat(-1.0, len(table)))
    parts = [
        part.select(["customer_id", "income"])
        .append_column("visits", part.column("visits").cast(pa.uint32()))
        .append_column(
            "seen", pa.repeat(pa.scalar(pd.Timestamp(day, unit="ns"), pa.timestamp("ns")), len(part))
        )
        .append_column("town", pa.repeat("Bern", len(part)).dictionary_encode())
        for part, day in ((later, "2024-03-03"), (table, DAY))
    ]
    pq.write_table(pa.concat_tables(parts), tools.root / "data" / "profiles.parquet")
    columns = "columns: [income, visits, seen, town], as_of: seen"
    lookup = f"lookups: [{{path: data/profiles.parquet, keys: [customer_id], {columns}}}]"
    lookup += "\n  casts: {town: string}"
    text = file.read_text(encoding="utf-8").replace("  keys:", f"  {lookup}\n  keys:")
    file.write_text(text.replace("keep: [city]", "keep: [city, seen]"), encoding="utf-8")
    suite = tools.root / "expectations" / "customers.json"
    written = json.loads(suite.read_text(encoding="utf-8"))
    written["expectations"] += [
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "town", "value_set": ["Bern"]}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "income", "min_value": 0}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "visits"}},
    ]
    suite.write_text(json.dumps(written), encoding="utf-8")
    box = open_toolbox(file)
    if "spark" in tools.__dict__:
        box.spark = tools.spark
        box.reader.one_machine_cells = 0
    outcome = run_partition(box, DAY)
    results = {(r.expectation, r.column): r for r in records_in(outcome.folder).read("", CheckReport).results}
    assert all(result.success for result in results.values())
    found = scores(box)
    np.testing.assert_allclose(found["churn_probability"], by_mlflow(box, rows), rtol=0, atol=1e-12)
    assert set(found["seen"]) == {pd.Timestamp(DAY)}
