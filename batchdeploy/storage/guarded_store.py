"""Reads objects of a store for pages, where anybody may have put something else in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import BinaryIO

from batchdeploy.storage.guarded_folder import MAX_BYTES
from batchdeploy.storage.interface import Storage, Stored


class GuardedStore:
    """Reads keys of a storage, up to 32 MiB; a larger object is as good as missing.

    Args:
        storage: the control folder in a store.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.target = storage.target
        self.list = storage.list
        self.open_output = storage.open_output
        self.delete = storage.delete

    def read(self, key: str) -> Stored | None:
        """The content of a key and its token; None if it does not exist or is too large."""
        try:
            with self._storage.open_input(key) as stream:
                content = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(content) > MAX_BYTES:
            return None
        return Stored(content, {"e_tag": hashlib.sha256(content).hexdigest()})

    def open_input(self, key: str) -> BinaryIO:
        """A stream to read from; FileNotFoundError if the key does not exist."""
        return self._storage.open_input(key)

    def create(self, key: str, content: bytes) -> bool:
        """Refused: pages write nothing."""
        raise NotImplementedError

    def swap(self, key: str, content: bytes, token: Mapping[str, str]) -> bool:
        """Refused: pages write nothing."""
        raise NotImplementedError
