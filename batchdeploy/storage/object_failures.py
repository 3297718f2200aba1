"""Translates failures of an object store to one sentence each, without quoting credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from batchdeploy.errors import BatchdeployError, DataError, Problem, SourceError

FAILURES = (BaseError, OSError, NotImplementedError)
CREDENTIALS = (
    "give credentials by the environment, by the role of the machine, or in Airflow by storage.connection; "
    "see docs/data.md"
)
# NOTE: only these are quoted; the rest of a response may contain key ids, signatures and tokens.
CODE = re.compile(r"<Code>(\w{1,80})</Code>")
STATUS = re.compile(r"status code: (\d{3})")
EXPIRED = {"ExpiredToken", "RequestExpired", "ExpiredTokenException"}
NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"}


@contextmanager
def translate_failures(where: str, target: str) -> Iterator[None]:
    """Raises failures of an object store as errors of this package.

    Args:
        where: the subject of the error, such as a file or folder.
        target: the requested URI.

    Raises:
        DataError: the bucket or object does not exist; a retry does not help.
        SourceError: the store refused, failed or did not answer.
    """
    try:
        yield
    except FAILURES as error:
        raise failure(where, target, error) from None


def failure(where: str, target: str, error: BaseException) -> BatchdeployError:
    """The error to raise for a failure of the store."""
    text = str(error)
    code = next(iter(CODE.findall(text)), "")
    status = next(iter(STATUS.findall(text)), "")
    said = " ".join(filter(None, (status, code))) or None
    if code in NO_BUCKET:
        return DataError(where, (Problem(target, "there is no such bucket", said),))
    if isinstance(error, InvalidPathError):
        what = "there is a key that cannot be a path; rename the object"
        return DataError(where, (Problem(target, what, text.partition("\n")[0]),))
    if isinstance(error, FileNotFoundError):
        return DataError(where, (Problem(target, "there is no such object", said),))
    what, hint = _refusal(error, text, (status, code))
    return SourceError(where, (Problem(target, what, said),), hint=hint)


def was_replaced(error: BaseException) -> bool:
    """Whether a read failed because the object differs from the pinned one."""
    return isinstance(error, PreconditionError | FileNotFoundError) and not (
        NO_BUCKET & {*CODE.findall(str(error))}
    )


def _refusal(error: BaseException, text: str, answer: tuple[str, str]) -> tuple[str, str]:
    status, code = answer
    if "169.254." in text:
        return "there are no credentials", CREDENTIALS
    if code in EXPIRED:
        return "the store says that the credentials have expired", "renew them, then run it again"
    if isinstance(error, UnauthenticatedError) or status == "401":
        return "the store does not accept the credentials", CREDENTIALS
    if isinstance(error, PermissionDeniedError) or status == "403":
        return "the store refuses access", CREDENTIALS
    if status:
        return "the store failed, also on retries", "a retry may help"
    if "kind: Timeout" in text or "TimedOut" in text or "timed out" in text:
        return "the store did not answer in time", "a retry may help; is storage.endpoint right?"
    return "the store cannot be reached, or broke off", "a retry may help; is storage.endpoint right?"
