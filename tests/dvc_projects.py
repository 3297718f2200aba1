"""Projects that DVC tracks, their clones without a cache, and a remote that counts and misbehaves."""

from __future__ import annotations

import logging
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay import Relay, serving
from tests_support import customers, write_day

FIRST, SECOND, THIRD = "2024-01-01", "2024-01-02", "2024-01-03"
DATA = "data/flights"


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def dvc(root: Path) -> Iterator[Any]:
    """DVC's own repository, in this process: a `dvc` command starts for a second or more."""
    with quiet() as kind, kind(str(root)) as repo:
        yield repo


@contextmanager
def quiet() -> Iterator[Any]:
    """DVC's class of repositories, without what it logs and warns of."""
    from dvc.repo import Repo

    # NOTE: DVC logs to what was the standard output when it was imported; pytest has closed that since.
    logging.getLogger("dvc").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Repo


def init(root: Path, *, subdir: bool = False) -> None:
    root.mkdir(parents=True, exist_ok=True)
    if not subdir:
        git(root, "init", "-q")
    with quiet() as kind:
        kind.init(str(root), subdir=subdir).close()


def set_remote(root: Path, url: str, **settings: str) -> None:
    """Sets the default remote, as `dvc remote add -d` writes it."""
    lines = ["[core]", "    remote = store", "['remote \"store\"']", f"    url = {url}"]
    lines += [f"    {name} = {value}" for name, value in settings.items()]
    (root / ".dvc" / "config").write_text("\n".join(lines) + "\n", encoding="utf-8")


def commit(root: Path, *tracked: str, message: str = "rows") -> str:
    """Adds folders to DVC, pushes them, and commits; gives the commit."""
    with dvc(root) as repo:
        for folder in tracked:
            repo.add(str(root / folder))
        repo.push(list(map(str, (root / folder for folder in tracked))))
    git(root, "add", "-A")
    git(root, "commit", "-qm", message)
    return git(root, "rev-parse", "HEAD")


def write_rows(root: Path, partition: str, seed: str, rows: int = 5) -> None:
    file = root / DATA / f"date={partition}" / "part-0.parquet"
    # The workspace's files may be links into the cache.
    file.unlink(missing_ok=True)
    write_day(root / DATA, partition, customers(seed, rows))


def two_commits(root: Path, url: str, *tracked: str, **settings: str) -> tuple[str, str]:
    """A project with two commits: the second has other rows of the first day, and one day more."""
    init(root)
    set_remote(root, url, **settings)
    for day in (FIRST, SECOND):
        write_rows(root, day, day)
    first = commit(root, *tracked)
    write_rows(root, FIRST, "later", rows=7)
    write_rows(root, THIRD, THIRD)
    return first, commit(root, *tracked)


def clone(root: Path, target: Path) -> Path:
    """A bare `git clone`: no cache, no data."""
    git(root.parent, "clone", "-q", str(root), str(target))
    return target


def cached(root: Path) -> set[str]:
    """The hashes of the objects in the cache; anything else there fails."""
    folder = root / ".dvc" / "cache" / "files" / "md5"
    found = [file for file in (root / ".dvc" / "cache").rglob("*") if file.is_file()]
    assert all(file.parent.parent == folder for file in found), found
    return {file.parent.name + file.name for file in found}


Answer = tuple[int, bytes]


@dataclass
class Proxy:
    """A proxy before an S3 server.

    Attributes:
        port: where it listens.
        requests: method, path and number of bytes of each answer.
        answer: gives another answer to a path, or None for the server's own.
        cut: how many bytes of a body are sent before the connection ends; None sends all.
        hang: whether it answers at all.
    """

    port: int = 0
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    answer: Callable[[str], Answer | None] = lambda _: None
    cut: int | None = None
    hang: bool = False

    @property
    def objects(self) -> dict[str, int]:
        """The hash of each object that was read, and how many bytes of it were sent."""
        found: dict[str, int] = {}
        for method, path, size in self.requests:
            key = path.partition("?")[0]
            if method == "GET" and "/files/md5/" in key:
                oid = "".join(key.split("/")[-2:])
                found[oid] = found.get(oid, 0) + size
        return found


@contextmanager
def before(port: int) -> Iterator[Proxy]:
    """A proxy before a server on loopback."""
    proxy = Proxy()
    ended = threading.Event()

    class Handler(Relay):
        def handle_one(self) -> None:
            body = self.body()
            if proxy.hang:
                ended.wait(60)
                self.close_connection = True
                return
            given = proxy.answer(self.path)
            if given is None:
                status, headers, content = self.ask(port, body, seconds=30)
            else:
                (status, content), headers = given, [("Content-Type", "application/xml")]
            sent = self.reply(status, headers, content, most=proxy.cut)
            proxy.requests.append((self.command, self.path, sent))
            self.close_connection = proxy.cut is not None

    with serving(Handler) as proxy.port:
        try:
            yield proxy
        finally:
            ended.set()


def error_xml(code: str, message: str) -> bytes:
    """A body of S3's for an error."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
