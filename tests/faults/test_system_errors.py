"""Errors of the operating system through every door: the path, the remedy, and the right exit code.

2 where a name in the request cannot be right, 3 where something outside failed; never a traceback.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests_support import FEATURES, Result, classifiers, customers, edit, register

from batchdeploy import load
from batchdeploy.assembly import open_toolbox
from batchdeploy.core.request import StepRequest
from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.errors import BatchdeployError, OutsideError, RequestError
from batchdeploy.workflows.step import take_step
from faults.test_concurrency import in_own_mounts

pytestmark = pytest.mark.slow

DAY = "2024-03-02"
Cli = Callable[..., Result]


def fifo(name: str) -> Callable[[Path], None]:
    """A pipe in place of a file, with nobody at its other end."""

    def spoil(root: Path) -> None:
        (root / name).unlink()
        os.mkfifo(root / name)

    return spoil


def circle(name: str) -> Callable[[Path], None]:
    """A symbolic link to itself."""

    def spoil(root: Path) -> None:
        file = root / name
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(file)

    return spoil


def plain_file(name: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("not a folder")

    return spoil


def not_utf8(name: str) -> Callable[[Path], None]:
    """Renames it to a name that Latin-1 has and UTF-8 has not."""
    return lambda root: os.rename(root / name, os.fsencode(root / name) + b"-\xe9.parquet")


def no_folder(root: Path) -> None:
    shutil.rmtree(root / "data" / "customers")
    plain_file("data/customers")(root)


LONG, SUITE, REFERENCE = "x" * 300, "expectations/customers.json", "data/reference/churn.json"
CIRCLE, NO_FOLDER = "symbolic links that lead in a circle", "a part of the path is a file, not a folder"
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe as deployment": (fifo("dags/churn.yaml"), "churn.yaml: is not a regular file"),
    "a circle as deployment": (circle("dags/churn.yaml"), CIRCLE),
    "a pipe as suite": (fifo(SUITE), "expectations: is not a regular file"),
    "a circle as suite": (circle(SUITE), f"expectations: {CIRCLE}"),
    "a pipe as reference": (fifo(REFERENCE), "drift.reference: is not a regular file"),
    "a circle as data": (circle("data/customers"), f"data.path: {CIRCLE}"),
    "a file as data": (no_folder, "data.path: is not a folder"),
    "a name too long for data": (
        edit("path: data/customers", f"path: data/{LONG}"),
        "data.path: a name that is too long",
    ),
    "a name too long for scores": (edit("path: scores/churn", f"path: scores/{LONG}"), "a name that is too"),
    "scores in a circle": (circle("scores"), CIRCLE),
    "a file as scores": (plain_file("scores"), NO_FOLDER),
    "a file as table": (plain_file("scores/churn"), NO_FOLDER),
    "a file as control folder": (plain_file("scores/churn.batchdeploy"), NO_FOLDER),
    "a circle as control folder": (circle("scores/churn.batchdeploy"), CIRCLE),
    "a file as folder of runs": (plain_file("scores/churn.batchdeploy/runs"), NO_FOLDER),
    "a data file of no Unicode name": (
        not_utf8(f"data/customers/date={DAY}/part-0.parquet"),
        "has a name that is not UTF-8; rename it",
    ),
}


@pytest.mark.parametrize(("spoil", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_name_that_cannot_be_right_is_a_wrong_request_through_every_door(
    project: Path, deployment: Path, cli: Cli, spoil: Callable[[Path], None], expected: str
) -> None:
    spoil(project)
    result = cli("run", deployment, "--partition", DAY)
    assert (result.code, "Traceback" in result.err) == (2, False), result.err
    assert expected in result.err
    with pytest.raises(RequestError):
        load(deployment).run(DAY)
    with pytest.raises(RequestError):
        take_step(open_toolbox(deployment), StepRequest(step="run", partition=DAY))


def test_a_disk_that_is_full_or_read_only_while_a_record_is_written(
    project: Path, deployment: Path, cli: Cli
) -> None:
    scores = project / "scores"

    def told(tell: Callable[[str], None]) -> None:
        result = cli("run", deployment, "--partition", DAY)
        tell(f"{result.code} {'Traceback' in result.err} {' '.join(result.err.split())}")
        try:
            load(deployment).run(DAY)
        except BatchdeployError as error:
            tell(f"{type(error).__name__} {error.exit_code}")

    def work(tell: Callable[[str], None]) -> None:
        with (scores / "filler").open("wb", buffering=0) as stream:
            try:
                while stream.write(b"x" * 4096):
                    pass
            except OSError:
                tell("full")
        told(tell)
        (scores / "filler").unlink()
        remount_read_only(scores)
        told(tell)

    code, lines = in_own_mounts(scores, "2m", work)
    assert code == 0, lines
    assert lines[0] == "full"
    full, read_only = lines[1], lines[3]
    for text, said in ((full, "No space left on device"), (read_only, "Read-only file system")):
        assert text.startswith("3 False"), text
        assert said in text
        assert str(scores) in text
    assert "Hint: free space on that disk, then run the same again" in full
    assert "mounted read-only; mount it writable, or give another path" in read_only
    assert lines[2] == lines[4] == "OutsideError 3"


def remount_read_only(folder: Path) -> None:
    assert ctypes.CDLL(None).mount(None, os.fsencode(folder), None, 32 | 1, None) == 0


def test_an_error_without_a_path_says_what_was_being_done() -> None:
    with (
        pytest.raises(
            OutsideError, match=r"^1 problem in the page:\n- the page: out of paper\nHint: resolve that"
        ),
        translate_system_errors("the page"),
    ):
        raise OSError("out of paper")
    with pytest.raises(RequestError, match="not Unicode"), translate_system_errors("the page"):
        "\udcff".encode()
    with pytest.raises(OutsideError, match="no memory left"), translate_system_errors("the page"):
        raise MemoryError


def test_a_terminal_that_cannot_show_a_character_is_shown_another(project: Path, deployment: Path) -> None:

    os.rename(
        project / "data/customers/date=2024-03-04", os.fsencode(project / "data/customers") + b"/date=\xe9"
    )
    command = [sys.executable, "-m", "batchdeploy", "status", str(deployment), "--json"]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert shown.returncode == 0, shown.stderr
    assert "2024-03-02" in shown.stdout


@pytest.mark.parametrize("code", ["allow", "refuse"])
def test_a_skops_file_that_is_no_archive_is_named(
    project: Path, deployment: Path, cli: Cli, code: str
) -> None:
    frame = customers(DAY)
    model = classifiers()[0].fit(frame[FEATURES], frame["age"] > 50)
    register(project, model, frame[FEATURES], alias="champion", name="spoilt")
    (file,) = (project / "mlartifacts").rglob("*.skops")
    file.write_text("no archive")
    edit("{name: churn, alias: champion}", f"{{name: spoilt, code: {code}}}")(project)
    result = cli("run", deployment, "--partition", DAY)
    assert (result.code, "Traceback" in result.err) == (1, False), result.err
    assert "not foreseen" not in result.err
    assert "BadZipFile" in result.err
