"""The sink of object stores and network filesystems: new files beside the old, and one pointer to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import tenacity

from batchdeploy.adapters.parquet_sink.attempts import verify
from batchdeploy.adapters.parquet_sink.locking import locked
from batchdeploy.adapters.parquet_sink.objects import FAILURES, Objects
from batchdeploy.adapters.parquet_sink.refusals import no_generation, outside, stale, translated
from batchdeploy.adapters.parquet_sink.staging import DEFAULT, StagingSink
from batchdeploy.core.deployment import PublishSpec
from batchdeploy.core.layout import Layout
from batchdeploy.core.records import Plan, ScoredBatch
from batchdeploy.core.upkeep import Cleaned
from batchdeploy.errors import PublishError

# NOTE: files of an attempt lie there before the pointer names them; younger ones may still be on their way.
ORPHAN_SECONDS = 86_400.0
REMEMBERED = 20
LOST_RACES = 30
Change = Callable[[dict[str, Any]], dict[str, Any]]


class _Again(Exception):
    """The pointer has to be read again: another publisher was first, or nobody knows."""


class PointerSink(StagingSink):
    """One table whose visible files are those that ``current.json`` names.

    Args:
        layout: the control folder.
        target: where the table is: a URI or a folder.
        spec: how to publish.
    """

    exchanging = False

    def __init__(self, layout: Layout, target: str, spec: PublishSpec = DEFAULT) -> None:
        super().__init__(layout, spec)
        self._objects = Objects(target, layout, spec.lock_seconds)

    def live(self, folder: str) -> str | None:
        """The run that the pointer names for a partition, or None."""
        entry = self._entry(folder)
        return None if entry is None else str(entry["run_id"])

    def attempt_of(self, folder: str) -> str | None:
        """The attempt whose files are visible."""
        entry = self._entry(folder)
        return None if entry is None else str(entry["attempt"])

    def published(self) -> tuple[str, ...]:
        """The folder names of all partitions that are visible."""
        return tuple(sorted(self._objects.read().document["partitions"]))

    def files(self, folder: str) -> tuple[str, ...]:
        """Where a partition's visible files are."""
        entry = self._entry(folder) or {"files": []}
        return tuple(f"{self._objects.target}/{file['path']}" for file in entry["files"])

    def recover(self, *, now: float) -> Cleaned:
        """Writes the records of runs that died just after they were published; sweeps staging.

        Args:
            now: seconds since the epoch.
        """
        if not self._layout.control.is_dir():
            return Cleaned()
        finished = []
        for folder, entry in self._objects.read().document["partitions"].items():
            file = self._layout.run(folder, entry["run_id"]) / "manifest.json"
            if not _tells_of(file, entry["attempt"]) and (text := self._objects.text(entry["manifest"])):
                self._record(folder, entry, text)
                finished.append(entry["run_id"])
        try:
            return Cleaned(finished=tuple(finished), attempts=self._attempts.sweep(now))
        except OSError as error:
            raise translated(error, self._layout.control) from error

    def publish(self, plan: Plan, scored: ScoredBatch, manifest: Callable[[], tuple[str, str]]) -> str:
        """Stores the staged files, and makes the pointer name them.

        Raises:
            StaleRunError: a run with other pins has published the partition since.
            PublishError: the store refused, or nobody could say what became of the pointer.
        """
        staged = self._layout.staging / scored.attempt / "scored"
        try:
            verify(staged, plan, scored)
        except OSError as error:
            raise translated(error, staged) from error
        if (text := self._published_already(plan)) is not None:
            self._attempts.discard(scored.attempt)
            return text
        prefix = f"data/{plan.folder}/run={scored.attempt}"
        for file in scored.files:
            self._objects.upload(staged / file.path, f"{prefix}/{file.path}")
        text, published_at = manifest()
        entry = {
            "run_id": plan.run_id,
            "attempt": scored.attempt,
            "published_at": published_at,
            "manifest": f"manifests/{plan.folder}/{scored.attempt}.json",
            "files": [
                {"path": f"{prefix}/{file.path}", "rows": file.rows, "size": file.size, "sha256": file.sha256}
                for file in scored.files
            ],
        }
        self._objects.write(str(entry["manifest"]), text)
        self._commit(scored.attempt, plan.folder, lambda document: self._named(document, plan, entry))
        self._record(plan.folder, entry, text)
        self._attempts.discard(scored.attempt)
        return text

    def generations(self, folder: str) -> tuple[str, ...]:
        """The run ids of a partition's earlier generations, the last that was visible first."""
        entry = self._entry(folder) or {"earlier": []}
        return tuple(earlier["run_id"] for earlier in entry["earlier"])

    def roll_back(self, folder: str, *, to: str | None, live: str | None, at: str) -> str:
        """Makes the pointer name an earlier generation's files again.

        Args:
            folder: the partition's folder name.
            to: the run to go back to; None for the one before.
            live: the run that is visible, as the caller saw it: the fence.
            at: the time, ISO 8601.

        Raises:
            PartitionError: there is no such generation.
            StaleRunError: another run has published the partition since.
        """

        def change(document: dict[str, Any]) -> dict[str, Any]:
            before = document["partitions"].get(folder)
            found = None if before is None else before["run_id"]
            if found != live:
                raise stale(folder, live, found)
            earlier = () if before is None else before["earlier"]
            kept = tuple(entry["run_id"] for entry in earlier if entry["run_id"] != live)
            if not kept or (to is not None and to not in kept):
                raise no_generation(folder, to, kept)
            chosen = next(entry for entry in earlier if entry["run_id"] == (to or kept[0]))
            return self._with(document, folder, {**chosen, "rolled_back_at": at})

        kept = self.generations(folder)
        token = f"rollback {folder} {at}"
        self._commit(token, folder, change)
        return to or kept[0]

    def collect_garbage(self, *, now: float) -> Cleaned:
        """All of `recover`, and the files that no generation names any more.

        Args:
            now: seconds since the epoch.
        """
        cleaned = self.recover(now=now)
        partitions = self._objects.read().document["partitions"].values()
        entries = [entry for p in partitions for entry in (p, *p["earlier"])]
        named = {file["path"] for entry in entries for file in entry["files"]}
        named |= {entry["manifest"] for entry in entries}
        gone = []
        for prefix in ("data", "manifests"):
            for path, stored in self._objects.listed(prefix):
                if path not in named and now - stored > max(ORPHAN_SECONDS, self._spec.reader_seconds):
                    self._objects.delete(path)
                    gone.append(path)
        return Cleaned(finished=cleaned.finished, attempts=cleaned.attempts, litter=tuple(gone))

    def _entry(self, folder: str) -> dict[str, Any] | None:
        entry: dict[str, Any] | None = self._objects.read().document["partitions"].get(folder)
        return entry

    def _published_already(self, plan: Plan) -> str | None:
        entry = self._entry(plan.folder)
        if entry is not None and entry["run_id"] == plan.run_id != plan.live:
            return self._objects.text(entry["manifest"])
        return None

    def _named(self, document: dict[str, Any], plan: Plan, entry: dict[str, Any]) -> dict[str, Any]:
        """The document with the run's files in it, where the fence lets them."""
        before = document["partitions"].get(plan.folder)
        live = None if before is None else before["run_id"]
        if live != plan.live:
            raise stale(plan.folder, plan.live, live)
        return self._with(document, plan.folder, entry)

    def _with(self, document: dict[str, Any], folder: str, entry: dict[str, Any]) -> dict[str, Any]:
        before = document["partitions"].get(folder)
        recent = [] if before is None else before["recent"]
        earlier = [] if before is None else [_bare(before), *before["earlier"]]
        kept = [old for old in earlier if old["run_id"] != entry["run_id"]][: self._spec.keep_generations]
        full = _bare(entry) | {"recent": recent, "earlier": kept}
        partitions = {**document["partitions"], folder: full}
        files = [file["path"] for _, one in sorted(partitions.items()) for file in one["files"]]
        return document | {"version": document["version"] + 1, "partitions": partitions, "files": files}

    def _commit(self, token: str, folder: str, change: Change) -> None:
        """Compare-and-swap until it is known what became of it; a lost answer is looked up, never repeated.

        Raises:
            PublishError: the store did not answer for a minute; whether it was published is not known.
        """
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Again),
            wait=tenacity.wait_random_exponential(multiplier=0.02, max=2),
            stop=tenacity.stop_after_attempt(LOST_RACES) | tenacity.stop_after_delay(90),
        )
        try:
            for one in tries:
                with one:
                    self._try(token, folder, change)
        except tenacity.RetryError as error:
            cause = error.last_attempt.exception()
            raise outside(self._objects.target, "the pointer could not be replaced", cause) from error

    def _try(self, token: str, folder: str, change: Change) -> None:
        try:
            seen = self._objects.read()
        except PublishError as error:
            raise _Again(str(error.problems[0])) from error
        recent = (seen.document["partitions"].get(folder) or {"recent": []})["recent"]
        if token in recent:
            return
        document = change(seen.document)
        document["partitions"][folder]["recent"] = [token, *recent][:REMEMBERED]
        try:
            replaced = self._objects.replace(seen, document)
        except FAILURES as error:
            raise _Again(str(error)) from error
        if not replaced:
            raise _Again("another publisher was first")

    def _record(self, folder: str, entry: dict[str, Any], manifest: str) -> None:
        """What the control folder keeps of a published run. The scores are out, whatever happens here."""
        run = self._layout.run(folder, entry["run_id"])
        quarantine = self._layout.staging / entry["attempt"] / "quarantine"
        line = {"at": entry["published_at"], "action": "publish", "partition": folder}
        line |= {"run_id": entry["run_id"], "attempt": entry["attempt"]}
        with suppress(OSError), locked(self._layout, self._spec.lock_seconds):
            if quarantine.is_dir():
                target = self._layout.quarantine(folder, entry["run_id"])
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(parents=True, exist_ok=True)
                quarantine.rename(target)
            self._disk.write(run / "manifest.json", manifest)
            self._disk.append(self._layout.audit, json.dumps(line) + "\n")


def _bare(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("recent", "earlier")}


def _tells_of(manifest: Path, attempt: str) -> bool:
    try:
        return bool(json.loads(manifest.read_text(encoding="utf-8"))["attempt"] == attempt)
    except (OSError, ValueError, KeyError, TypeError):
        return False
