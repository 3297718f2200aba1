"""What a model prints is kept with the run, bounded, and reaches nobody's stdout."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from batchdeploy.adapters.parquet_splits import capture_output
from batchdeploy.host.output_capture import MAX_BYTES

Capture = pytest.CaptureFixture[str]


def by_c(text: str) -> None:
    """By C's own buffer, which comes out when it is full, or when the process ends."""
    ctypes.CDLL(None).printf(text.encode() + b"\n")


def by_number(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def by_bytes(text: str) -> None:
    sys.stdout.buffer.write(text.encode() + b"\n")


def by_child(text: str) -> None:
    subprocess.run(["/bin/echo", text], check=True)


def by_thread(text: str) -> None:
    thread = threading.Thread(target=by_number, args=(text,))
    thread.start()
    thread.join()


WAYS = {
    "print": print,
    "stderr": lambda text: print(text, file=sys.stderr),
    "bytes": by_bytes,
    "the descriptor": by_number,
    "C": by_c,
    "a child process": by_child,
    "a thread": by_thread,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_printed_goes_to_the_file(tmp_path: Path, capfd: Capture, way: str) -> None:
    streams = (sys.stdout, sys.stderr)
    print("before")
    with capture_output(tmp_path / "printed" / "part.txt"):
        WAYS[way]("by a model")
    print("after")
    assert (tmp_path / "printed" / "part.txt").read_text() == "by a model\n"
    assert (sys.stdout, sys.stderr) == streams
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr() == ("before\nafter\n", "")


def test_where_nothing_is_printed_there_is_no_file(tmp_path: Path) -> None:
    with capture_output(tmp_path / "printed" / "part.txt"):
        pass
    assert [*tmp_path.iterdir()] == []


def test_native_words_on_stderr_are_the_models_only_where_it_is_alone(tmp_path: Path, capfd: Capture) -> None:
    for alone in (False, True):
        with capture_output(tmp_path / str(alone), alone=alone):
            os.write(2, b"warning\n")
    assert capfd.readouterr().err == "warning\n"
    assert [file.name for file in tmp_path.iterdir()] == ["True"]


@pytest.mark.parametrize("way", [print, by_number], ids=["print", "the descriptor"])
def test_no_more_is_kept_than_the_bound(tmp_path: Path, capfd: Capture, way: object) -> None:
    file = tmp_path / "part.txt"
    with capture_output(file) as capture:
        for _ in range(50):
            way("x" * 9_999)  # type: ignore[operator]
            capture.trim()
            assert os.fstat(capture.number).st_size <= MAX_BYTES
    assert MAX_BYTES < file.stat().st_size < MAX_BYTES + 100
    assert "(cut:" in file.read_text()
    assert capfd.readouterr() == ("", "")


def test_of_two_threads_each_has_its_own(tmp_path: Path, capfd: Capture) -> None:
    both, first_left = threading.Barrier(2), threading.Event()

    def ask(name: str) -> None:
        with capture_output(tmp_path / name):
            both.wait()
            print(name)
            if name == "second":
                first_left.wait()
                print("still", name)
        first_left.set()

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "first").read_text() == "first\n"
    assert (tmp_path / "second").read_text() == "second\nstill second\n"
    assert capfd.readouterr().out == ""
