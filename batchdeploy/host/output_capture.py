"""Captures what a model prints, from Python or native code, in a file."""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# The limit for one split; the run's merged file is bounded as well.
MAX_BYTES = 65_536
TRUNCATED = f"\n(cut: a split keeps {MAX_BYTES} bytes)\n".encode()
STDOUT, STDERR = 1, 2


class Capture:
    """A file for captured output, up to `MAX_BYTES`."""

    def __init__(self) -> None:
        self._file = _anonymous_file()
        self.number = self._file.fileno()
        self._truncated = False

    def write(self, data: bytes) -> int:
        """Appends data up to the limit, and marks the output as truncated beyond it."""
        room = MAX_BYTES - os.fstat(self.number).st_size
        self._truncated |= room < len(data)
        if room > 0:
            os.write(self.number, data[:room])
        return len(data)

    def trim(self) -> None:
        """Truncates what native code wrote beyond the limit."""
        if os.fstat(self.number).st_size > MAX_BYTES:
            os.ftruncate(self.number, MAX_BYTES)
            self._truncated = True

    def save(self, file: Path) -> None:
        """Writes the captured output to a file, if there is any, and closes the capture."""
        self.trim()
        self._file.seek(0)
        text = self._file.read() + (TRUNCATED if self._truncated else b"")
        self._file.close()
        if text:
            # On a full disk, writing the scores reports the problem.
            with suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(text)


class _Binary:
    """Stands in for ``sys.stdout.buffer`` while a model runs."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def write(self, data: bytes) -> int:
        return self._capture.write(bytes(data))

    def flush(self) -> None:
        """Does nothing: writes are unbuffered."""


class _Router:
    """Replaces ``sys.stdout`` or ``sys.stderr``: captures the output of threads that run a model."""

    def __init__(self, original: Any, captures: dict[int, Capture]) -> None:
        self._original = original
        self._captures = captures

    def __getattr__(self, name: str) -> Any:
        capture = self._captures.get(threading.get_ident())
        if name == "buffer" and capture is not None:
            return _Binary(capture)
        return getattr(self._original, name)

    def write(self, text: str) -> int:
        capture = self._captures.get(threading.get_ident())
        if capture is None:
            return int(self._original.write(text) or 0)
        capture.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line)


class _Streams:
    """The process's streams; replaced when the first thread captures, restored after the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captures: dict[int, Capture] = {}
        self._replaced: dict[str, Any] = {}
        self._numbers: dict[int, int] = {}

    def enter(self, capture: Capture, numbers: Sequence[int]) -> None:
        with self._lock:
            if not self._captures:
                self._replace(capture, numbers)
            self._captures[threading.get_ident()] = capture

    def leave(self) -> None:
        with self._lock:
            self._captures.pop(threading.get_ident(), None)
            if not self._captures:
                self._restore()

    def _replace(self, capture: Capture, numbers: Sequence[int]) -> None:
        _flush()
        for number in numbers:
            # A process may have been started without this stream.
            with suppress(OSError):
                self._numbers[number] = os.dup(number)
                os.dup2(capture.number, number)
        for name in ("stdout", "stderr"):
            self._replaced[name] = getattr(sys, name)
            setattr(sys, name, _Router(self._replaced[name], self._captures))

    def _restore(self) -> None:
        _flush()
        for name, original in self._replaced.items():
            setattr(sys, name, original)
        _flush()
        for number, original in self._numbers.items():
            os.dup2(original, number)
            os.close(original)
        self._replaced.clear()
        self._numbers.clear()


STREAMS = _Streams()


@contextmanager
def capture_output(file: Path, *, alone: bool = False) -> Iterator[Capture]:
    """Captures output of the current thread in a bounded file, created only if there is any.

    Args:
        file: the file to write.
        alone: whether this process does nothing else, so that native output on stderr is the model's, too.
    """
    capture = Capture()
    STREAMS.enter(capture, (STDOUT, STDERR) if alone else (STDOUT,))
    try:
        yield capture
    finally:
        STREAMS.leave()
        capture.save(file)


def _anonymous_file() -> Any:
    """An unnamed file that native code can append to by its descriptor."""
    if not hasattr(os, "memfd_create"):
        return tempfile.TemporaryFile("a+b", buffering=0)
    number = os.memfd_create("printed")
    fcntl.fcntl(number, fcntl.F_SETFL, os.O_APPEND)
    return os.fdopen(number, "a+b", buffering=0)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    # NOTE: C's printf buffers; without this, its output appears only when the process ends.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
