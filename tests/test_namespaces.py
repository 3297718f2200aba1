"""The machines of tests: what their processes see, and what they do not."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from namespaces import REPOSITORY, machine

pytestmark = pytest.mark.slow


def test_a_machine_sees_what_it_is_given_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("given")
    with machine() as one, machine(keep=[REPOSITORY / "docs"]) as other:
        for hidden in (tmp_path, REPOSITORY / "batchdeploy", Path(__file__), REPOSITORY / ".git"):
            assert one.run("test", "-e", hidden).returncode == 1
        failed = one.run(sys.executable, "-c", "import pandas, batchdeploy")
        assert "No module named 'batchdeploy'" in failed.stderr
        one.copy(tmp_path / "given", tmp_path / "given")
        assert one.run("cat", tmp_path / "given" / "file").stdout == "given"
        assert one.run("sh", "-c", f"echo new > {tmp_path}/given/new").returncode == 0
        assert not (tmp_path / "given" / "new").exists()
        assert other.run("test", "-e", tmp_path / "given").returncode == 1
        assert other.run("test", "-e", REPOSITORY / "docs").returncode == 0
        assert other.run("touch", REPOSITORY / "docs" / "new").returncode != 0
        assert one.namespace != other.namespace


def test_a_machine_that_crashes_takes_its_processes_with_it() -> None:
    with machine() as one, machine() as other:
        sleeping = [subprocess.Popen(where.command("sleep", "600")) for where in (one, other)]
        try:
            while not one.crash():
                # The process has not entered the machine yet.
                time.sleep(0.01)
            assert sleeping[0].wait(60) == -9
            assert sleeping[1].poll() is None
            assert one.run("echo", "up again").stdout == "up again\n"
        finally:
            for process in sleeping:
                process.kill()
                process.wait()
