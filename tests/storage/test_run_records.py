"""The records of a run: found, written, kept in hand, looked up and verified; in memory, without a file."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from tests_support import plan

from batchdeploy.core.layout import attempt_key, run_key
from batchdeploy.core.records import CheckReport, Manifest, Plan, Refusal
from batchdeploy.documents import to_json
from batchdeploy.errors import DataError, RequestError, ScoringRefused
from batchdeploy.storage import run_records
from batchdeploy.storage.interface import write
from batchdeploy.storage.object_storage import ObjectStorage
from batchdeploy.storage.run_records import RunRecords

PLANNED = plan("a", None)
RUN = run_key(PLANNED.folder, PLANNED.run_id)
CHECK = CheckReport(run_id=PLANNED.run_id, started_at="2024-01-01T00:00:00+00:00", rows=10, results=())


def manifest(planned: Plan) -> Manifest:
    return Manifest(
        run_id=planned.run_id,
        attempt="a-1",
        deployment="d",
        partition=planned.partition,
        model="m",
        model_version=1,
        model_digest="d",
        data_digest="x",
        plan_sha256=hashlib.sha256(to_json(planned).encode()).hexdigest(),
        rows_in=10,
        rows_scored=10,
        rows_quarantined=0,
        keys="0",
        files=(),
        quarantine=(),
        warnings=(),
        drift="unmeasured",
        drift_alarms=(),
        replaced=None,
        started_at="2024-01-01T00:00:00+00:00",
        published_at="2024-01-01T00:00:01+00:00",
        seconds=1.0,
        versions={},
    )


@pytest.fixture
def storage() -> ObjectStorage:
    return ObjectStorage("memory:///")


def test_what_is_written_is_read(storage: ObjectStorage) -> None:
    for record in (PLANNED, CHECK, manifest(PLANNED)):
        RunRecords(storage).write(RUN, record)
        assert RunRecords(storage).read(RUN, type(record)) == record
    RunRecords(storage).write_refusal(RUN, ScoringRefused("here", "too many", hint="mend them"))
    refusal = RunRecords(storage).find(RUN, Refusal)
    assert refusal == Refusal(
        gate="ScoringRefused", where="here", problems=("here: too many",), hint="mend them"
    )


def test_a_record_that_is_not_there(storage: ObjectStorage) -> None:
    records = RunRecords(storage)
    assert records.find(RUN, Plan) is None
    with pytest.raises(RequestError, match=r"plan\.json: is not there; the run did not get that far"):
        records.read(RUN, Plan)


def test_a_record_in_hand_is_not_parsed(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    records = RunRecords(storage)
    records.write(RUN, PLANNED)
    RunRecords(storage).write(RUN, CHECK)
    first = records.read(RUN, CheckReport)
    # Records must not be parsed again, so the parser is removed.
    monkeypatch.setattr(run_records, "from_json", None)
    assert records.read(RUN, Plan) is PLANNED
    assert records.read(RUN, CheckReport) is first


def test_what_another_process_wrote_meanwhile_is_read(storage: ObjectStorage) -> None:
    records = RunRecords(storage)
    records.write(RUN, PLANNED)
    another = replace(PLANNED, attempt="20240101000000000000aaaaaaaa")
    RunRecords(storage).write(RUN, another)
    assert records.read(RUN, Plan) == another


def test_only_so_many_records_are_kept(storage: ObjectStorage) -> None:
    records = RunRecords(storage)
    for number in range(100):
        records.write(RUN, replace(CHECK, rows=number))
    assert len(records._known) == run_records.MOST_KNOWN
    assert records.read(RUN, CheckReport).rows == 99


def test_a_page_that_was_cut_short_is_none(storage: ObjectStorage) -> None:
    records = RunRecords(storage)
    assert not records.has_page(RUN)
    records.write_page(RUN, "<html>half")
    assert not records.has_page(RUN)
    records.write_page(RUN, "<html>whole</html>\n")
    assert records.has_page(RUN)


def test_runs_are_looked_up(storage: ObjectStorage) -> None:
    records = RunRecords(storage)
    assert records.runs() == ()
    attempt = attempt_key(PLANNED.folder, PLANNED.run_id, "20240101beef")
    records.write(attempt, PLANNED)
    other = plan("b", None)
    records.write(run_key("date=2024-01-02", other.run_id), other)
    records.write(run_key("date=2024-01-02", other.run_id), manifest(other))
    (first,) = records.runs(PLANNED.folder)
    assert (first.key, first.run_id, first.attempts) == (RUN, PLANNED.run_id, ("20240101beef",))
    assert first.published is None
    assert [entry.published is not None for entry in records.runs()] == [False, True]
    assert records.lookup("aaa") == (RUN,)
    assert records.lookup("20240101") == (attempt,)
    assert records.lookup("c") == ()


def test_records_of_one_run_are_in_order(storage: ObjectStorage) -> None:
    records = RunRecords(storage)
    for record in (PLANNED, CHECK, manifest(PLANNED)):
        records.write(RUN, record)
    assert records.verify(RUN) == ()


def test_what_is_wrong_with_records_is_said(storage: ObjectStorage) -> None:
    records = RunRecords(storage)
    assert list(map(str, records.verify(RUN))) == ["plan.json: is not there"]
    records.write(RUN, replace(PLANNED, attempt="20240101000000000000aaaaaaaa"))
    records.write(RUN, replace(CHECK, run_id="b" * 16))
    sealed = records.write(RUN, manifest(PLANNED))
    write(storage, f"{RUN}/scored.json", b'{"run_id": "a')
    problems = records.verify(RUN)
    assert [problem.path for problem in problems] == ["check.json", "scored.json: JSON", "manifest.json"]
    assert problems[2].got == sealed.plan_sha256
    with pytest.raises(DataError):
        records.find(RUN, run_records.ScoredBatch)


ATTEMPT = attempt_key(PLANNED.folder, PLANNED.run_id, "20240101beef")


def test_the_attempt_of_a_record_in_hand_is_not_parsed(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = RunRecords(storage)
    records.write(RUN, replace(PLANNED, attempt="one"))
    monkeypatch.setattr(run_records, "json", None)
    assert records.find_attempt(RUN, Plan) == "one"


@pytest.mark.parametrize(
    ("text", "attempt"),
    [
        (b'{"attempt": "one", "of": "a later version"}', "one"),
        (b"{}", None),
        (b"[]", None),
        (b"{", None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_the_attempt_of_a_foreign_record(
    storage: ObjectStorage, text: bytes | None, attempt: str | None
) -> None:
    if text is not None:
        write(storage, f"{RUN}/manifest.json", text)
    assert RunRecords(storage).find_attempt(RUN, Manifest) == attempt


def test_a_run_shows_the_records_of_one_attempt(storage: ObjectStorage) -> None:
    records = RunRecords(storage)
    sealed = records.write(RUN, manifest(PLANNED))
    records.write(RUN, CHECK)
    records.write_refusal(RUN, ScoringRefused("here", "too many"))
    records.write_page(RUN, "<html>old</html>")
    records.write(ATTEMPT, replace(PLANNED, attempt="20240101beef"))
    records.write(ATTEMPT, replace(CHECK, rows=11))
    records.write_output(ATTEMPT, "printed")
    records.show(ATTEMPT, RUN)
    assert records.read(RUN, Plan).attempt == "20240101beef"
    assert records.read(RUN, CheckReport).rows == 11
    assert records.read(RUN, Manifest) == sealed
    assert records.find(RUN, Refusal) is None
    assert records.find_output(RUN) == "printed"
    assert not records.has_page(RUN)
    records.write_page(ATTEMPT, "<html>new</html>")
    records.show(ATTEMPT, RUN)
    assert records.has_page(RUN)


def test_two_storages_of_one_folder_share_what_is_in_hand(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = RunRecords(storage)
    other = records.through(storage)
    other.write(RUN, PLANNED)
    monkeypatch.setattr(run_records, "from_json", None)
    assert records.read(RUN, Plan) is PLANNED
