"""Lists objects below a URI, with what pins each of them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import obstore

from batchdeploy.core.pins import FilePin
from batchdeploy.core.storage_spec import StorageSpec
from batchdeploy.storage.object_failures import FAILURES, failure, translate_failures
from batchdeploy.storage.object_store import open_store, split_uri, unquoted
from batchdeploy.storage.object_versions import newest_versions

# How many objects are asked about at a time.
REQUESTS = 32
# How many objects S3 lists with one request.
PAGE = 1_000
# How often a page of a listing is asked for that was cut off.
TRIES = 3
# Empty objects that stand for folders: what Hadoop calls them.
FOLDER_SUFFIX = "_$folder$"


class Found(NamedTuple):
    """One object: its key relative to the listed URI, and what the store says of it.

    Attributes:
        modified: when it was stored, ISO 8601 in UTC, in whole seconds.
        version: of it, in a bucket that keeps versions, where the listing tells.
    """

    key: str
    size: int
    etag: str | None
    version: str | None
    modified: str


class ObjectFolder:
    """The objects below a URI.

    Args:
        uri: the URI; keys are relative to it.
        storage: how to reach its store.
    """

    def __init__(self, uri: str, storage: StorageSpec) -> None:
        self.uri = uri.rstrip("/")
        bucket, self._prefix = split_uri(uri)
        self._bucket = bucket
        self._storage = storage
        self._store = open_store(bucket, storage)

    def children(self, key: str = "") -> tuple[list[str], list[Found]]:
        """The folders and the objects directly below a key; both empty where nothing is.

        Objects that only stand for a folder are left out.

        Raises:
            DataError, SourceError: the store has no such bucket, or failed.
        """
        prefix = self._full(key)
        listed = self._listed(lambda: obstore.list_with_delimiter(self._store, prefix or None))
        folders = [self._relative(path) for path in listed["common_prefixes"]]
        stand_ins = {prefix, *listed["common_prefixes"]}
        return folders, [*self._objects(listed["objects"], stand_ins)]

    def descend(self, key: str = "") -> list[Found]:
        """All objects below a key."""
        prefix = self._full(key)
        return [
            *self._objects(
                self._listed(lambda: obstore.list(self._store, prefix or None).collect()), {prefix}
            )
        ]

    def pins(self, objects: Sequence[Found]) -> list[FilePin]:
        """Pins objects of this listing, in their order.

        By version where the bucket keeps versions: obstore's listing of S3 does not tell them, so that
        versions are listed as well, or each object is asked about, many at a time. Else nothing more is
        asked than whether it does.
        """
        if not objects or objects[0].version is not None:
            return [self._pin(found) for found in objects]
        first = self._ask(objects[0])
        if first.version is None:
            return [self._pin(found) for found in (first, *objects[1:])]
        with ThreadPoolExecutor(REQUESTS) as pool:
            others = pool.map(self._ask, self._with_versions(objects[1:]))
            return [self._pin(first), *map(self._pin, others)]

    def look_up(self, keys: Iterable[str]) -> list[FilePin]:
        """Pins objects by their keys: many by a listing of their common folder, others by asking about each.

        Raises:
            DataError: one of them does not exist.
            SourceError: the store failed.
        """
        wanted = [*keys]
        listed = self._list_some(wanted) if len(wanted) > REQUESTS else {}
        pins = {pin.path: pin for pin in self.pins([*listed.values()])}
        with ThreadPoolExecutor(REQUESTS) as pool:
            others = pool.map(self._head, (key for key in wanted if key not in listed))
            pins |= {found.key: self._pin(found) for found in others}
        return [pins[key] for key in wanted]

    def _list_some(self, keys: Sequence[str]) -> dict[str, Found]:
        """Those of these objects that a listing shows which takes fewer requests than asking about each."""
        wanted = {*keys}
        folder, found = self._full(posixpath.commonpath(wanted)), dict[str, Found]()
        pages = obstore.list(self._store, folder or None, chunk_size=PAGE)
        try:
            for page in islice(pages, len(keys) // REQUESTS):
                found |= {one.key: one for one in map(self._found, page) if one.key in wanted}
        except FAILURES:
            # Asking about each tells what fails, or needs no permission to list.
            return found
        return found

    def _with_versions(self, objects: Sequence[Found]) -> list[Found]:
        """The objects, with the versions that a listing tells of what was found."""
        waves = len(objects) // REQUESTS
        if not waves:
            return [*objects]
        keys = {found: self._full(found.key) for found in objects}
        known = newest_versions(self._bucket, keys.values(), self._storage, pages=waves)
        versions = {
            key: one.version
            for found, key in keys.items()
            if (one := known.get(key)) and (one.etag, one.size) == (found.etag, found.size)
        }
        return [found._replace(version=versions.get(key)) for found, key in keys.items()]

    def _ask(self, found: Found) -> Found:
        return self._head(found.key) if found.version is None else found

    def _head(self, key: str) -> Found:
        path = self._full(key)
        with translate_failures(key, f"{self._bucket}/{path}"):
            return self._found(obstore.head(self._store, path))

    def _pin(self, found: Found) -> FilePin:
        return FilePin(
            path=found.key,
            md5="",
            size=found.size,
            location=f"{self._bucket}/{self._full(found.key)}",
            etag=found.etag,
            version=found.version,
            modified=found.modified,
        )

    def _objects(self, metas: Iterable[Any], stand_ins: set[str]) -> Iterator[Found]:
        for meta in metas:
            path = meta["path"]
            if not meta["size"] and (path in stand_ins or path.endswith(FOLDER_SUFFIX)):
                continue
            yield self._found(meta)

    def _found(self, meta: Any) -> Found:
        modified: datetime = meta["last_modified"]
        return Found(
            self._relative(meta["path"]),
            meta["size"],
            unquoted(meta["e_tag"]),
            meta["version"],
            # NOTE: stores list in milliseconds what they answer in seconds when asked about one object.
            modified.astimezone(UTC).replace(microsecond=0).isoformat(),
        )

    def _full(self, key: str) -> str:
        return "/".join(filter(None, (self._prefix, key)))

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self._prefix}/") if self._prefix else path

    def _listed(self, ask: Callable[[], Any]) -> Any:
        # NOTE: obstore asks again for an object that was cut off, but not for a page of a listing.
        for _ in range(TRIES - 1):
            try:
                return ask()
            except FAILURES as error:
                if "ListResponseBody" not in str(error):
                    raise failure(self.uri, self.uri, error) from None
        with translate_failures(self.uri, self.uri):
            return ask()
