"""Opens the storage of a folder or a URI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from batchdeploy.core.locations import is_uri
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.storage.files import Disk
from batchdeploy.storage.folder_storage import FolderStorage
from batchdeploy.storage.interface import Storage


class StoreAccessError(OSError):
    """A store refused or failed; the text says so in words."""


@contextmanager
def plain_store_errors(location: str) -> Iterator[None]:
    """Raises a store's failures as `StoreAccessError`.

    The text of the store itself may hold signatures and tokens, and this one may end in a task's log.

    Args:
        location: a folder, whose errors pass as they are, or a URI.
    """
    try:
        yield
    except OSError as error:
        # NOTE: obstore's writers raise Python's own errors, too, but without a number.
        if not is_uri(location) or error.errno is not None or isinstance(error, StoreAccessError):
            raise
        from batchdeploy.storage.object_failures import failure

        found = failure(location, location, error.__cause__ or error)
        raise StoreAccessError(str(found.problems[0])) from None


def open_location(
    location: str,
    spec: StorageSpec = StorageSpec(),
    *,
    lock: Callable[[], AbstractContextManager[object]] = nullcontext,
    disk: Disk | None = None,
    alone: bool = False,
) -> Storage:
    """Opens the storage of a folder or a URI.

    Args:
        location: a folder's path, or the URI of an object store.
        spec: how the store is reached.
        lock: of a folder, as for `FolderStorage`; a store compares by itself.
        disk: writes a folder's files; None: without syncing them.
        alone: of a folder, as for `FolderStorage`.

    Raises:
        PublishError: the store cannot be opened.
    """
    if is_uri(location):
        # Imported here, because the object store's client comes with the extra `objects`.
        from batchdeploy.storage.object_storage import ObjectStorage

        return ObjectStorage(location, spec)
    return FolderStorage(Path(location), lock, disk or Disk(power=False), alone=alone)
