"""Private copies of models: downloaded from a version's own location, named by their digest."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from batchdeploy.adapters.mlflow.artifact_listing import READ_MARKER
from batchdeploy.adapters.mlflow.first_use_records import SHOWN_DIGITS, FirstUseRecords
from batchdeploy.core.first_use import VersionFiles
from batchdeploy.core.pins import digest_model
from batchdeploy.core.records import ModelPin
from batchdeploy.errors import Problem, RegistryError
from batchdeploy.host.file_modes import make_folder, restrict_tree

# NOTE: of a champion and its challenger.
MAX_DOWNLOADS = 2


@dataclass(frozen=True, slots=True)
class VersionSource:
    """Where a registered version's files are to be had, and what a listing says of them.

    Attributes:
        stable: whether the listing would show it if they were written to from now on.
    """

    location: str
    seen: VersionFiles
    stable: bool

    @property
    def key(self) -> tuple[str, int]:
        return self.seen.name, self.seen.version


@dataclass(frozen=True, slots=True)
class Download:
    """A copy that was downloaded to be hashed, and may be wanted for more."""

    copy: Path
    digest: str
    source: VersionSource


class ModelCache:
    """The copies of one process.

    Args:
        download: brings the files of a location into a folder, and gives where they are in it.
        models: the folder of the table's copies and records; None for no records.
    """

    def __init__(self, download: Callable[[str, Path], Path], models: Path | None) -> None:
        self._download = download
        self._first_uses = None if models is None else FirstUseRecords(models)
        self._downloads: dict[tuple[str, int], Download] = {}
        self._scratch: Path | None = None

    def digest(self, source: VersionSource) -> str:
        """The digest of a version's files as they are; downloaded only where no earlier use vouches for them.

        Raises:
            RequestError: they are not those of the version's first use.
        """
        first = None if self._first_uses is None else self._first_uses.find(*source.key)
        if first is not None and first.seen == source.seen:
            return first.digest
        kept = self._downloads.get(source.key)
        if kept is None or kept.source.seen != source.seen:
            kept = self._download_version(source, self._scratch_folder())
            self._remember(kept)
        if first is not None and self._first_uses is not None:
            self._first_uses.verify(first, *source.key, kept.digest)
        return kept.digest

    def keep_download(self, pin: ModelPin, models: Path) -> None:
        """Puts what `digest` downloaded where `fetch` looks, and writes down the version's first use."""
        kept = self._downloads.get((pin.name, pin.version))
        if kept is not None and kept.digest == pin.digest:
            self._move_into_cache(kept, models)
            del self._downloads[kept.source.key]

    def fetch(self, pin: ModelPin, models: Path, find: Callable[[], VersionSource]) -> Path:
        """The files of a pinned version, in a folder below ``models``.

        Args:
            pin: the version and the digest of its files.
            models: the folder of copies.
            find: looks the version up, where its files have to be downloaded.

        Raises:
            RegistryError: its location holds other files than those that were pinned.
            RequestError: other files were pinned than at its first use.
        """
        self.keep_download(pin, models)
        first_uses = FirstUseRecords(models)
        first = first_uses.find(pin.name, pin.version)
        folder = models / pin.digest
        # NOTE: a copy alone proves nothing: it may be another version's, under a digest that a tag claimed.
        if first is not None:
            first_uses.verify(first, pin.name, pin.version, pin.digest)
            if _is_intact(folder, pin.digest):
                # NOTE: what nobody has used for a month is removed.
                os.utime(folder)
                return folder
        make_folder(models)
        with tempfile.TemporaryDirectory(dir=models, prefix="fetching-") as scratch:
            kept = self._download_version(find(), Path(scratch))
            if kept.digest != pin.digest:
                text = f"the files are not those recorded, {pin.digest[:SHOWN_DIGITS]}"
                where = f"model {pin.name} version {pin.version}"
                raise RegistryError(where, (Problem("digest", text, kept.digest[:SHOWN_DIGITS]),))
            return self._move_into_cache(kept, models)

    def _download_version(self, source: VersionSource, room: Path) -> Download:
        copy = self._download(source.location, room)
        # NOTE: what is not hashed must not be there to be loaded.
        (copy / READ_MARKER).unlink(missing_ok=True)
        return Download(copy, digest_folder(copy), source)

    def _move_into_cache(self, kept: Download, models: Path) -> Path:
        """Records what the copy is of, and moves it to its place."""
        seen = kept.source.seen if kept.source.stable else replace(kept.source.seen, files={})
        FirstUseRecords(models).record(seen, kept.digest)
        folder = models / kept.digest
        if _is_intact(folder, kept.digest):
            shutil.rmtree(kept.copy, ignore_errors=True)
            return folder
        scratch = Path(tempfile.mkdtemp(dir=models, prefix="fetching-"))
        try:
            moved = Path(shutil.move(kept.copy, scratch / "model"))
            restrict_tree(moved)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                moved.rename(folder)
            except OSError:
                # NOTE: another run fetched the same model in the meantime; its copy is as good.
                if not _is_intact(folder, kept.digest):
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return folder

    def _scratch_folder(self) -> Path:
        """A new folder that goes when this object does."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="batchdeploy-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self._scratch))

    def _remember(self, kept: Download) -> None:
        self._downloads.pop(kept.source.key, None)
        self._downloads[kept.source.key] = kept
        for key in [*self._downloads][:-MAX_DOWNLOADS]:
            shutil.rmtree(self._downloads.pop(key).copy, ignore_errors=True)


def _is_intact(folder: Path, digest: str) -> bool:
    return folder.is_dir() and digest_folder(folder) == digest


def digest_folder(folder: Path) -> str:
    """The digest of a model's files; what the tag ``batchdeploy.digest`` of a version says.

    The file that MLflow leaves in a folder which it reads is no part of the model; one of that name deeper
    down is.
    """
    pairs = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_symlink():
            pairs.append((name, f"link to {os.readlink(file)}"))
        elif file.is_file() and name != READ_MARKER:
            with file.open("rb") as stream:
                pairs.append((name, hashlib.file_digest(stream, "sha256").hexdigest()))
    return digest_model(pairs)
