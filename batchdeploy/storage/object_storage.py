"""Storage in an object store: S3, GCS, Azure, and any other that obstore supports."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.errors import BatchdeployError, Problem, PublishError
from batchdeploy.storage.interface import Entry, Stored, Token
from batchdeploy.storage.object_failures import CODE, NO_BUCKET, failure
from batchdeploy.storage.object_store import open_store, split_uri

# obstore's retries of one request. After a failed swap the outcome is unknown, and the caller reads the key.
TRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
SETTINGS = "its account and region come from the environment, as obstore reads it"
# An empty store of this process alone, for trying things out.
MEMORY = "memory:///"
FAILURES = (BaseError, NotImplementedError)


class StoreError(OSError):
    """A store's failure in words.

    Attributes:
        remedy: what to do before a retry; None if there is nothing.
    """

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class ObjectStorage:
    """Storage below a URI; see `batchdeploy.storage.interface.Storage`.

    Args:
        target: the URI; credentials come from the environment.
        spec: the store's endpoint, region and profile; they override the environment.

    Raises:
        PublishError: obstore cannot open the URI.
    """

    def __init__(self, target: str, spec: StorageSpec = StorageSpec()) -> None:
        self.target = target
        self._prefix = ""
        self._store: Any
        if target == MEMORY:
            self._store = from_url(target)
            return
        try:
            bucket, prefix = split_uri(target)
            self._store = open_store(bucket, spec, TRIES)
        except BatchdeployError as error:
            found, hint = error.problems[0], error.hint or SETTINGS
            raise storage_error(target, "cannot be opened", found, hint=hint) from error
        self._prefix = f"{prefix}/" if prefix else ""

    def read(self, key: str) -> Stored | None:
        """The content and token of a key; None if the key does not exist."""
        with suppress(FileNotFoundError), _as_os_error():
            answer = obstore.get(self._store, self._prefix + key)
            token = {name: answer.meta.get(name) for name in ("e_tag", "version")}
            known = {name: str(value) for name, value in token.items() if value is not None}
            return Stored(bytes(answer.bytes()), known)
        return None

    def create(self, key: str, content: bytes) -> bool:
        """Stores the content if the key does not exist. Of concurrent callers, one gets True."""
        return self._put(key, content, "create")

    def swap(self, key: str, content: bytes, token: Token) -> bool:
        """Replaces the content if the key still has this token, from `read`; otherwise returns False."""
        return self._put(key, content, dict(token))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below a prefix of whole path segments."""
        with _as_os_error():
            for chunk in obstore.list(self._store, self._prefix + prefix or None):
                for found in chunk:
                    key = found["path"].removeprefix(self._prefix)
                    yield Entry(key, found["size"], found["last_modified"].timestamp())

    def copy(self, key: str, target: str) -> bool:
        """Has the store copy what is under a key; False where nothing is there."""
        with suppress(FileNotFoundError), _as_os_error():
            obstore.copy(self._store, self._prefix + key, self._prefix + target)
            return True
        return False

    def delete(self, key: str) -> None:
        """Removes a key, if it exists."""
        with suppress(FileNotFoundError), _as_os_error():
            obstore.delete(self._store, self._prefix + key)

    def open_input(self, key: str) -> BinaryIO:
        """Opens a key for reading."""
        with _as_os_error():
            reader = _Input(obstore.open_reader(self._store, self._prefix + key))
            return cast(BinaryIO, io.BufferedReader(reader, 2**20))

    @contextmanager
    def open_output(self, key: str) -> Iterator[BinaryIO]:
        """Yields a stream to write to: a multipart upload, visible once it is complete."""
        with _as_os_error(), obstore.open_writer(self._store, self._prefix + key) as writer:
            yield cast(BinaryIO, _Output(writer))

    def _put(self, key: str, content: bytes, mode: Any) -> bool:
        # NOTE: for a swap of a key that was removed meanwhile, S3 answers "not found".
        try:
            with _as_os_error():
                obstore.put(self._store, self._prefix + key, content, mode=mode, use_multipart=False)
                return True
        except FileNotFoundError:
            return False
        except OSError as error:
            if isinstance(error.__cause__, PreconditionError | AlreadyExistsError):
                return False
            raise


class _Input(io.RawIOBase):
    """Adapts obstore's reader to `io.RawIOBase`, which pyarrow and `io` need."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with _as_os_error():
            found = bytes(self._file.read(len(buffer)))
        buffer[: len(found)] = found
        return len(found)


class _Output(io.RawIOBase):
    def __init__(self, file: Any) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        with _as_os_error():
            return int(self._file.write(content))


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        # NOTE: a missing bucket must not pass for a missing key.
        if any(code in NO_BUCKET for code in CODE.findall(str(error))):
            raise _in_words(error) from error
        raise
    except FAILURES as error:
        raise _in_words(error) from error
    except OSError as error:
        # NOTE: obstore's writer raises these, without a number.
        if isinstance(error, StoreError) or error.errno is not None:
            raise
        raise _in_words(error) from error


def _in_words(error: BaseException) -> StoreError:
    """The store's failure in one sentence, which quotes no credentials."""
    found = failure("", "", error)
    problem = found.problems[0]
    said = "" if problem.got is None else f" ({problem.got})"
    return StoreError(f"{problem.problem}{said}", remedy=found.hint)


def storage_error(target: str, what: str, found: object, *, hint: str = "a retry may help") -> PublishError:
    """A PublishError with the first line of the store's message."""
    got = str(found).strip().splitlines()
    problem = Problem(target, what, got[0] if got else None)
    return PublishError("the published table", (problem,), hint=hint)
