"""What races for a control folder without a lock: claims, the audit log, the evidence of attempts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any, BinaryIO

import pytest
from fakes import FakeStorage
from object_stores import CREDENTIALS, new_bucket
from tests_support import RUNS
from tests_support import plan as made_up_plan

from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import AUDIT, Layout, attempt_key, claim_key, quarantine_key, run_key
from batchdeploy.core.records import Plan, Refusal
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import PublishError, TableError
from batchdeploy.publishing.audit import AuditLine, AuditLog
from batchdeploy.publishing.claims import ClaimFiles
from batchdeploy.publishing.control_folder import ControlFolder
from batchdeploy.publishing.evidence import EvidenceFolder
from batchdeploy.publishing.pointer_attempts import PointerAttempts
from batchdeploy.publishing.pointer_cleanup import PointerCleanup
from batchdeploy.publishing.pointer_files import PointerFiles
from batchdeploy.publishing.pointer_records import PointerRecords
from batchdeploy.publishing.pointer_table import PointerTable
from batchdeploy.storage.control_record import check_control, own_control
from batchdeploy.storage.interface import Storage, Stored, Token, write
from batchdeploy.storage.run_records import RunRecords

FOLDER = "date=2024-01-01"
A = RUNS["a"]
WRITERS = 6


def control_of(storage: Storage, root: Path) -> ControlFolder:
    """A control folder in a store, by any storage."""
    layout = Layout(root / "scores", f"s3://somewhere/{root.name}")
    spec = PublishSpec(mode="pointer", durability="process")
    return ControlFolder(
        layout=layout, spec=spec, records=RunRecords(storage), storage=storage, shared=storage
    )


@pytest.fixture(params=["folder", "fake", "S3", "Azure"])
def control(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ControlFolder:
    """An empty control folder: a local one, and in stores."""
    if request.param == "fake":
        return control_of(FakeStorage(), tmp_path)
    spec = PublishSpec(mode="pointer", durability="process")
    layout, stores = Layout(tmp_path / "scores"), StorageSpec()
    if request.param != "folder":
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        bucket = new_bucket(request, request.param)
        layout, stores = Layout(tmp_path / "scores", f"{bucket.uri}/scores.batchdeploy"), bucket.storage
    return ControlFolder.of(layout, spec, stores=stores)


def at_once(call: Callable[[int], Any], number: int = WRITERS) -> list[Any]:
    barrier = Barrier(number)

    def wait_and_call(which: int) -> Any:
        barrier.wait()
        return call(which)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(wait_and_call, range(number)))


def planned(attempt: str) -> Plan:
    return replace(made_up_plan("a", None), run_id=A, attempt=attempt)


def audit_lines(control: ControlFolder) -> list[str]:
    stored = control.storage.read(AUDIT)
    return [] if stored is None else [json.loads(line)["run_id"] for line in stored.content.splitlines()]


def test_of_contenders_for_a_claim_exactly_one_holds_it(control: ControlFolder) -> None:
    claims = ClaimFiles(control)
    for turn in range(3):
        ended = f"{turn - 1} ended"
        names = [f"{turn}-{number}" for number in range(WRITERS)]
        claim = partial(claims.claim, FOLDER, expected_holder=ended)
        found = at_once(lambda n, claim=claim, names=names: claim(names[n]))  # type: ignore[misc]
        assert {*found} <= {*names}
        assert len({*found}) == 1
        assert claims.claim(FOLDER, f"{turn} ended", expected_holder=found[0]) == f"{turn} ended"
    claims.release(FOLDER, "another")
    assert claims.claim(FOLDER, "new") == "2 ended"
    claims.release(FOLDER, "2 ended")
    claims.release(FOLDER, "2 ended")
    assert claims.claim(FOLDER, "new") == "new"


class Forgetful(FakeStorage):
    """Executes requests to change keys, and loses every second answer."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0
        self._odd = False

    def create(self, key: str, content: bytes) -> bool:
        return self._lose(super().create(key, content))

    def swap(self, key: str, content: bytes, token: Token) -> bool:
        return self._lose(super().swap(key, content, token))

    def _lose(self, done: bool) -> bool:
        self._odd = not self._odd
        if self._odd:
            self.lost += 1
            raise OSError("the answer was lost")
        return done


def test_a_lost_answer_is_looked_up(tmp_path: Path) -> None:
    storage = Forgetful()
    control = control_of(storage, tmp_path)
    claims, audit = ClaimFiles(control), AuditLog(control)
    assert claims.claim(FOLDER, "first") == "first"
    assert claims.claim(FOLDER, "second") == "first"
    claims.release(FOLDER, "first")
    assert claims.claim(FOLDER, "second") == "second"
    for run in "abcdef":
        audit.append(AuditLine(at=run, action="publish", partition=FOLDER, run_id=run))
    assert audit_lines(control) == [*"abcdef"]
    assert storage.lost > 4


def test_of_deployments_that_take_a_control_folder_at_once_one_gets_it(control: ControlFolder) -> None:
    made_up = made_up_plan("a", None).deployment
    deployment = replace(made_up, output=replace(made_up.output, path="s3://lake/scores"))

    def take(which: int) -> str:
        try:
            own_control(control.shared, replace(deployment, name=f"d{which}"))
        except TableError as refused:
            return str(refused)
        return f"d{which}"

    taken = at_once(take)
    (owner,) = [name for name in taken if len(name) == 2]
    assert sum(f"belongs to deployment {owner}" in text for text in taken) == WRITERS - 1
    check_control(control.shared, replace(deployment, name=owner))
    own_control(control.shared, replace(deployment, name=owner))


def test_a_control_folder_beside_its_table_belongs_to_whom_the_table_belongs(control: ControlFolder) -> None:
    deployment = made_up_plan("a", None).deployment
    for name in ("first", "second"):
        own_control(control.shared, replace(deployment, name=name))
        check_control(control.shared, replace(deployment, name=name))


def test_a_store_that_fails_is_one_error(tmp_path: Path) -> None:
    storage = FakeStorage()
    storage.failure = OSError("the store refuses access")
    with pytest.raises(PublishError, match=rf"store: the store refuses access\n|{claim_key(FOLDER)}"):
        ClaimFiles(control_of(storage, tmp_path)).claim(FOLDER, "a")


def test_manifests_in_a_store_are_read_many_at_a_time(tmp_path: Path) -> None:
    together = Barrier(2)

    class Slow(FakeStorage):
        def read(self, key: str) -> Stored | None:
            if key.endswith("manifest.json"):
                together.wait(timeout=30)
            return super().read(key)

    control, files = control_of(Slow(), tmp_path), PointerFiles(FakeStorage())
    entry = {"run_id": A, "attempt": "a", "manifest": "manifests/none.json", "earlier": []}
    document = files.read().document | {"partitions": {f"date=2024-01-0{day}": entry for day in (1, 2)}}
    assert files.replace(files.read(), document)
    attempts = PointerAttempts(control, files, StorageSpec())
    records = PointerRecords(control, PointerTable(files))
    assert PointerCleanup(control, files, records=records, attempts=attempts).finish() == ()


def test_no_audit_line_is_lost_or_doubled(control: ControlFolder) -> None:
    audit = AuditLog(control)

    def append(which: int) -> None:
        for number in range(3):
            line = AuditLine(at="t", action="publish", partition=FOLDER, run_id=f"{which}-{number}")
            with control.lock():
                audit.append(line)
                audit.append(line)

    at_once(append)
    assert sorted(audit_lines(control)) == sorted(f"{w}-{n}" for w in range(WRITERS) for n in range(3))


def refuse(control: ControlFolder, evidence: EvidenceFolder, attempt: str) -> None:
    """What a refused attempt writes; each of its files names it."""
    plan, own = planned(attempt), attempt_key(FOLDER, A, attempt)
    control.records.write(own, plan)
    evidence.begin_evidence(plan)
    control.records.write(own, Refusal(gate=attempt, where="", problems=(), hint=None))
    evidence.update_evidence(plan)
    if int(attempt) % 2:
        write(control.storage, f"staging/{attempt}/quarantine/part-{attempt}.parquet", attempt.encode())
        evidence.keep_quarantine(plan, attempt)
        control.records.write_output(own, attempt)
    evidence.update_evidence(plan)


def assert_of_one_attempt(control: ControlFolder) -> None:
    """The run's folder has the plan of one attempt, and what that attempt has, and nothing else."""
    run, storage = run_key(FOLDER, A), control.storage
    name = control.records.read(run, Plan).attempt
    assert control.records.read(run, Refusal).gate == name
    assert control.records.find_output(run) == (name if int(name) % 2 else "")
    kept = [entry.key for entry in storage.list(quarantine_key(FOLDER, A))]
    expected = [f"{quarantine_key(FOLDER, A)}/part-{name}.parquet"]
    assert kept == (expected if int(name) % 2 else [])


def test_racing_attempts_leave_the_evidence_of_one(control: ControlFolder) -> None:
    evidence = EvidenceFolder(control)
    at_once(lambda n: refuse(control, evidence, f"{n + 10}"), number=4)
    assert_of_one_attempt(control)
    for name in ("10", "11", "12", "13"):
        own = attempt_key(FOLDER, A, name)
        assert control.records.read(own, Refusal).gate == name
    refuse(control, evidence, "21")
    assert_of_one_attempt(control)
    assert control.records.read(run_key(FOLDER, A), Plan).attempt == "21"


class Interrupted(FakeStorage):
    """Has another writer act before one of its writes."""

    def __init__(self, before: int, act: Callable[[], None]) -> None:
        super().__init__()
        self._left = before
        self._act = act

    @contextmanager
    def open_output(self, key: str) -> Iterator[BinaryIO]:
        self._left -= 1
        if self._left == 0:
            self._act()
        with super().open_output(key) as stream:
            yield stream


def test_an_attempt_that_begins_between_any_two_writes_is_shown_whole(tmp_path: Path) -> None:
    """Every write of one attempt is interrupted by a whole other attempt."""

    def shown_after(before: int) -> str:
        storage = Interrupted(before, lambda: refuse(control, evidence, "31"))
        control = control_of(storage, tmp_path)
        evidence = EvidenceFolder(control)
        refuse(control, evidence, "21")
        assert_of_one_attempt(control)
        return control.records.read(run_key(FOLDER, A), Plan).attempt

    assert {shown_after(before) for before in range(1, 40)} == {"21", "31"}
