"""Cache of downloaded models; each folder is named by the digest of its files."""

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

# One for a champion and one for its challenger.
MAX_DOWNLOADS = 2


@dataclass(frozen=True, slots=True)
class VersionSource:
    """Location of a registered version's files, with a listing of them.

    Attributes:
        seen: the listing.
        stable: whether any later write to the files would change the listing.
    """

    location: str
    seen: VersionFiles
    stable: bool

    @property
    def key(self) -> tuple[str, int]:
        return self.seen.name, self.seen.version


@dataclass(frozen=True, slots=True)
class Download:
    """A copy that was downloaded to compute its digest, and that `keep_download` can move into the cache."""

    copy: Path
    digest: str
    source: VersionSource


class ModelCache:
    """Downloads models, verifies their digests and caches them.

    Args:
        download: downloads the files at a location into a folder, and returns their path in it.
        models: the table's folder of cached models; None keeps no records of first uses.
        first_uses: the records of first uses; None: in the folder of cached models.
    """

    def __init__(
        self,
        download: Callable[[str, Path], Path],
        models: Path | None,
        first_uses: FirstUseRecords | None = None,
    ) -> None:
        self._download = download
        self._models = models
        self._recorded = first_uses
        self._first_uses = None if models is None else self._first_uses_in(models)
        self._downloads: dict[tuple[str, int], Download] = {}
        self._scratch: Path | None = None

    def digest(self, source: VersionSource) -> str:
        """The digest of a version's files. Downloads them unless a first-use record has the same listing.

        Raises:
            RequestError: the files differ from those at the version's first use.
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

    def find(self, pin: ModelPin) -> Path | None:
        """A copy of a pinned version that is here already: in the cache, or downloaded by `digest`."""
        kept = self._downloads.get((pin.name, pin.version))
        if kept is not None and kept.digest == pin.digest:
            return kept.copy
        folder = None if self._models is None else self._models / pin.digest
        return folder if folder is not None and _is_intact(folder, pin.digest) else None

    def keep_download(self, pin: ModelPin, models: Path) -> None:
        """Moves the download of `digest` into the cache, and records the version's first use."""
        kept = self._downloads.get((pin.name, pin.version))
        if kept is not None and kept.digest == pin.digest:
            self._move_into_cache(kept, models)
            del self._downloads[kept.source.key]

    def fetch(self, pin: ModelPin, models: Path, find: Callable[[], VersionSource]) -> Path:
        """The folder below ``models`` that holds a pinned version's files.

        Args:
            pin: the version and the digest of its files.
            models: the cache folder.
            find: finds the version in the registry; called only if its files must be downloaded.

        Raises:
            RegistryError: the files at its location differ from the pinned ones.
            RequestError: the pinned files differ from those at the version's first use.
        """
        self.keep_download(pin, models)
        first_uses = self._first_uses_in(models)
        first = first_uses.find(pin.name, pin.version)
        folder = models / pin.digest
        # NOTE: a cached folder alone proves nothing: it may be another version's.
        if first is not None:
            first_uses.verify(first, pin.name, pin.version, pin.digest)
            if _is_intact(folder, pin.digest):
                # Garbage collection removes folders that were not touched for a month.
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

    def _first_uses_in(self, models: Path) -> FirstUseRecords:
        return self._recorded or FirstUseRecords.beside(models)

    def _download_version(self, source: VersionSource, room: Path) -> Download:
        copy = self._download(source.location, room)
        # The digest leaves this file out, so it must not be there when the model is loaded.
        (copy / READ_MARKER).unlink(missing_ok=True)
        return Download(copy, digest_folder(copy), source)

    def _move_into_cache(self, kept: Download, models: Path) -> Path:
        """Records the version's first use and moves the download into the cache."""
        seen = kept.source.seen if kept.source.stable else replace(kept.source.seen, files={})
        self._first_uses_in(models).record(seen, kept.digest)
        folder = models / kept.digest
        if _is_intact(folder, kept.digest):
            shutil.rmtree(kept.copy, ignore_errors=True)
            return folder
        make_folder(models)
        scratch = Path(tempfile.mkdtemp(dir=models, prefix="fetching-"))
        try:
            moved = Path(shutil.move(kept.copy, scratch / "model"))
            restrict_tree(moved)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                moved.rename(folder)
            except OSError:
                # Another run may have cached the same model in the meantime.
                if not _is_intact(folder, kept.digest):
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return folder

    def _scratch_folder(self) -> Path:
        """A new temporary folder, removed together with this object."""
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
    """The digest of a model's files, as the tag ``batchdeploy.digest`` of a version holds it.

    Leaves out the marker file that MLflow writes into a model's top folder on reading it. A file of that name
    deeper down counts.
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
