"""What a worker tries before the first task, and how a run is refused where it cannot read or write."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import make_tools
from fakes.stage_calls import plan_of, scored_of
from object_stores import s3_bucket
from score_jobs import folders_in
from store_proxy import store_proxy

from batchdeploy.adapters.parquet_splits import access_check
from batchdeploy.core.work import AttemptFolders, Split, WorkerProblem
from batchdeploy.errors import BatchdeployError, EngineError, MissingPackageError, RequestError
from batchdeploy.storage.opening import open_location

Break = Callable[[Path], object]


def attempt(root: Path) -> tuple[AttemptFolders, Split]:
    """An attempt on this disk, and a file of its input."""
    (root / "attempt" / "scored").mkdir(parents=True)
    (root / "part-0.parquet").write_bytes(b"PAR1")
    location = str(root / "part-0.parquet")
    split = Split(index=0, path="part-0", location=location, row_groups=(0,), first_row=0, rows=1)
    return folders_in(str(root / "attempt")), split


def test_a_worker_that_sees_all_has_no_problem_and_leaves_nothing(tmp_path: Path) -> None:
    folders, split = attempt(tmp_path)
    check = pickle.loads(pickle.dumps(access_check(folders, [split])))
    assert check.run() == ()
    assert os.listdir(folders.scored) == []


@pytest.mark.parametrize(
    ("spoil", "place", "said"),
    [
        (lambda root: (root / "part-0.parquet").unlink(), "part-0.parquet", "No such file or directory"),
        (lambda root: shutil.rmtree(root / "attempt"), "attempt", "is not to be found"),
        (lambda root: next((root / "attempt").glob("w*")).write_text("x"), "attempt", "is another place"),
        (lambda root: (root / "attempt" / "scored").rmdir(), "scored", "No such file or directory"),
    ],
)
def test_a_worker_says_what_it_does_not_see(tmp_path: Path, spoil: Break, place: str, said: str) -> None:
    folders, split = attempt(tmp_path)
    check = access_check(folders, [split])
    spoil(tmp_path)
    (problem,) = check.run()
    assert problem.kind == "disk"
    assert problem.place.endswith(place)
    assert said in problem.problem
    # What a worker without the driver's disk tries must not make folders of the same name on its own.
    assert place != "scored" or not Path(folders.scored).exists()


def test_a_worker_in_a_store_says_what_the_store_does(
    s3_port: int, store_credentials: None, tmp_path: Path
) -> None:
    bucket, split = s3_bucket(s3_port), attempt(tmp_path)[1]
    with store_proxy(s3_port) as proxy:
        behind = bucket.through(proxy.port)
        folders = replace(folders_in(f"{bucket.uri}/staging/one"), storage=behind.storage)
        assert access_check(folders, [split]).run() == ()
        assert [entry.key for entry in open_location(folders.scored, folders.storage).list("")] == []
        check = access_check(folders, [split])
        proxy.fault, proxy.body = 403, "<Error><Code>AccessDenied</Code><AWSAccessKeyId>AKIA"
        (problem,) = check.run()
        assert (problem.kind, problem.place) == ("store", folders.scratch)
        assert "the store refuses access" in problem.problem
        assert "AKIA" not in problem.problem
        with pytest.raises(EngineError, match=r"the driver: .*the store refuses access"):
            access_check(folders, [split])


@pytest.mark.parametrize(
    ("kinds", "error", "code", "hint"),
    [
        (("disk",), RequestError, 2, "mount the project on the workers"),
        (("disk", "store"), RequestError, 2, "publish: {mode: pointer} with output.path"),
        (("store",), EngineError, 3, "credentials from their own environment"),
        (("package", "disk"), MissingPackageError, 2, "pip install batchdeploy[objects]"),
    ],
)
def test_a_run_is_refused_before_the_first_task(
    kinds: tuple[str, ...], error: type[BatchdeployError], code: int, hint: str
) -> None:
    tools = make_tools()
    tools.engine.remote = True
    tools.scorer.unreachable = tuple(WorkerProblem(kind, f"/{kind}", "is not there") for kind in kinds)  # type: ignore[arg-type]
    with pytest.raises(error) as refused:
        scored_of(tools, plan_of(tools))
    assert refused.value.exit_code == code
    said = str(refused.value)
    assert all(f"the fake worker: cannot use /{kind}: is not there" in said for kind in kinds)
    assert hint in said
    assert tools.engine.shipped == []
    assert tools.staging.attempts == {}


def test_workers_on_this_machine_are_not_asked() -> None:
    tools = make_tools()
    tools.scorer.unreachable = (WorkerProblem("disk", "/somewhere", "is not there"),)
    assert scored_of(tools, plan_of(tools)).rows_scored == 6
