"""Errors of the operating system as errors of this package: the path, the problem, the remedy.

Doors wrap their calls in `translate_system_errors`, so that no OSError leaves a command, a notebook call or
a task untranslated. Code that knows the context better translates earlier.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from batchdeploy.errors import BatchdeployError, OutsideError, Problem, RequestError

# These come from a wrong path; a retry changes nothing.
WRONG_NAMES = {
    errno.ELOOP: "symbolic links that lead in a circle",
    errno.ENAMETOOLONG: "a name that is too long for this filesystem",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "a folder, where a file is needed",
}
REMEDIES = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space within this user's quota",
    errno.EROFS: "that filesystem is mounted read-only; mount it writable, or give another path",
    errno.EACCES: "give this user the right to read or write it",
    errno.EPERM: "give this user the right to read or write it",
    errno.EMFILE: "raise the number of open files (ulimit -n)",
    errno.ENFILE: "close files: the machine has none left",
    errno.EIO: "look at the disk: it does not read or write",
    errno.ESTALE: "mount that network filesystem again",
    errno.ENOENT: "it was there, or should have been: see who removes it",
}
STATUS = "batchdeploy status says what is published"
AGAIN = f"then run the same again; {STATUS}"


def is_local_failure(error: BaseException) -> bool:
    """Whether a local file could not be written, even where its content comes from a server."""
    numbers = {*WRONG_NAMES, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
    return isinstance(error, OSError) and error.filename is not None and error.errno in numbers


def reason(error: OSError) -> str:
    """The problem in words, for a message that already names the path."""
    return WRONG_NAMES.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__


def remedy(error: OSError) -> str:
    """What to do before a retry can succeed."""
    return REMEDIES.get(error.errno or 0, "resolve that")


def next_step(error: OSError) -> str:
    """What to do about a failure, as the end of a hint; a store's failure tells it itself."""
    told = getattr(error, "remedy", None)
    return str(told) if told else f"{remedy(error)}, then run it again"


def translate_system_error(error: OSError | UnicodeError | MemoryError, where: str) -> BatchdeployError:
    """The error as a `RequestError` where the path itself is wrong, else as an `OutsideError`.

    Args:
        error: what was raised.
        where: the operation or target, for errors that carry no path.
    """
    if isinstance(error, MemoryError):
        problem = Problem(where, "this machine has no memory left for it", str(error) or None)
        return OutsideError(
            where, (problem,), hint="free memory, or give the process more; then run it again"
        )
    if isinstance(error, UnicodeError):
        return RequestError(where, (_not_unicode(error, where),), hint="rename it, or write it as UTF-8")
    path = where if error.filename is None else os.fsdecode(error.filename)
    problem = Problem(path, reason(error))
    if error.errno in WRONG_NAMES:
        return RequestError(where, (problem,))
    told = getattr(error, "remedy", None)
    hint = f"{told}; {STATUS}" if told else f"{remedy(error)}, {AGAIN}"
    return OutsideError(where, (problem,), hint=hint)


@contextmanager
def translate_system_errors(where: str) -> Iterator[None]:
    """Raises errors of the operating system as errors of this package; also usable as a decorator."""
    try:
        yield
    except BatchdeployError:
        raise
    except (OSError, UnicodeError, MemoryError) as error:
        raise translate_system_error(error, where) from error
    except RuntimeError as error:
        # NOTE: up to Python 3.12, pathlib raises RuntimeError for ELOOP.
        if not str(error).startswith("Symlink loop from"):
            raise
        raise translate_system_error(OSError(errno.ELOOP, "", str(error).split("'")[1]), where) from error


def _not_unicode(error: UnicodeError, where: str) -> Problem:
    if isinstance(error, UnicodeEncodeError):
        return Problem(where, "holds a name or text that is not Unicode", error.object[:200])
    if isinstance(error, UnicodeDecodeError):
        return Problem(where, f"is not UTF-8 text (byte {error.start})")
    return Problem(where, "is not Unicode text", str(error))
