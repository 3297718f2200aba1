"""A fault at every system call that changes anything: killed there, or refused by the disk. Needs strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchdeploy.errors import BatchdeployError
from faults.campaign import Known
from faults.killing import finished, in_child
from faults.oracle import published_run, violations
from faults.publishing import publish, run_name, swap_table

FOLDER = "date=2024-01-01"
OLD, NEW, NEXT = (run_name(number) for number in range(3))
CHANGING = "rename,renameat2,mkdir,rmdir,unlink,unlinkat,fsync,ftruncate,write,openat,flock"
EVERYWHERE = ("KILL", "EIO", "ENOSPC")
WHERE_FILES_COME = ("EACCES", "EMFILE")
SITUATIONS = ("first publish", "overwrite", "rollback", "garbage")


def available() -> bool:
    """Whether strace is installed and may trace here."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(
        ["strace", "-e", "trace=none", "-e", "inject=fsync:error=EIO", "true"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def syscall_faults(home: Path, situation: str, *, every: int = 1) -> dict[str, Any]:
    """Injects each fault at each call of a publish, a rollback or a garbage collection.

    Args:
        home: an empty folder.
        situation: which operation, on which table.
        every: injects at every n-th call only.
    """
    # Once untraced, so that the rehearsal has no system calls that only a first execution makes.
    _work(_table(home / "warming up", situation), situation)(print)
    calls = _calls(home / "rehearsal", situation)
    found: list[str] = []
    counts: Counter[str] = Counter()
    missed: list[str] = []
    number = 0
    for name, ordinal, creates in calls:
        faults = (*EVERYWHERE, *(WHERE_FILES_COME if creates else ()))
        for fault in faults:
            number += 1
            if number % every:
                continue
            trial = home / str(number)
            wrong, fired, ended = _trial(trial, situation, (name, ordinal, fault))
            counts["fired"] += fired
            missed += [] if fired else [f"{fault} at {name} {ordinal}"]
            counts[ended] += 1
            counts["trials"] += 1
            found += [f"{situation}: {fault} at {name} {ordinal}: {violation}" for violation in wrong]
            if not wrong:
                shutil.rmtree(trial)
    return {"situation": situation, "calls": len(calls), **counts, "missed": missed, "violations": found}


def _calls(home: Path, situation: str) -> list[tuple[str, int, bool]]:
    """Each call that changes something, as (name, which of that name, whether it makes a file)."""
    root = _table(home, situation)
    log = home / "log"
    _traced(_work(root, situation), ["-o", str(log), "-e", f"trace={CHANGING}"])
    seen: Counter[str] = Counter()
    calls = []
    for line in log.read_text().splitlines():
        if not (match := re.match(r"(?:\d+ +)?(\w+)\((.*)", line)):
            continue
        name, rest = match.groups()
        seen[name] += 1
        creates = name in ("mkdir", "rename", "renameat2") or (name == "openat" and "O_CREAT" in rest)
        if name != "openat" or creates or "O_DIRECTORY" in rest:
            calls.append((name, seen[name], creates))
    return calls


def _table(home: Path, situation: str) -> Path:
    root = home / "scores"
    home.mkdir(parents=True)
    table = swap_table(root, durability="power", keep=1)
    if situation != "first publish":
        publish(table, FOLDER, OLD, None)
    if situation in ("rollback", "garbage"):
        publish(table, FOLDER, NEW, OLD)
    return root


def _work(root: Path, situation: str) -> Callable[[Callable[[str], None]], None]:
    def work(tell: Callable[[str], None]) -> None:
        table = swap_table(root, durability="power", keep=0 if situation == "garbage" else 1, seconds=2)
        try:
            if situation == "rollback":
                table.publisher.roll_back(FOLDER, to=OLD, expected_run=NEW, at="now")
            elif situation == "garbage":
                table.maintenance.collect_garbage(now=time.time())
            else:
                publish(table, FOLDER, NEW, None if situation == "first publish" else OLD)
            tell("done")
        except BatchdeployError as error:
            tell(f"refused: {error.hint}")
        except OSError as error:
            # Only the trial's own staging may raise it, as a worker's writes would.
            tell(f"failed: {error}")

    return work


def _traced(work: Callable[[Callable[[str], None]], None], options: list[str]) -> tuple[int, list[str]]:
    """Does the work in a child with strace on it, from its first call on."""
    gate, go = os.pipe()

    def waiting(tell: Callable[[str], None]) -> None:
        os.read(gate, 1)
        work(tell)

    pid, reader = in_child(waiting)
    tracer = subprocess.Popen(["strace", "-f", "-p", str(pid), *options], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    assert "attached" in said, said
    os.write(go, b"!")
    os.close(go)
    os.close(gate)
    ended = finished(pid, reader)
    tracer.communicate()
    return ended


def _trial(home: Path, situation: str, where: tuple[str, int, str]) -> tuple[list[str], bool, str]:
    name, ordinal, fault = where
    root, log = _table(home, situation), home / "log"
    before = published_run(root, FOLDER)
    inject = f"{name}:{'signal=KILL' if fault == 'KILL' else f'error={fault}'}:when={ordinal}"
    code, lines = _traced(
        _work(root, situation), ["-o", str(log), "-e", f"trace={name}", "-e", f"inject={inject}"]
    )
    fired = code == -9 if fault == "KILL" else "INJECTED" in log.read_text()
    ended = "killed" if code == -9 else lines[-1].split(":")[0] if lines else f"ended with {code}"
    known = Known()
    after = {"rollback": OLD, "garbage": before}.get(situation, NEW)
    wrong = [v for v in violations(root, known, settled=False) if v != "the lock is held"]
    wrong += _claim(lines, published_run(root, FOLDER), (before, after), early=True)
    swap_table(root).maintenance.recover(now=time.time())
    wrong += _claim(lines, published_run(root, FOLDER), (before, after), early=False)
    if situation == "garbage":
        swap_table(root, keep=0).maintenance.collect_garbage(now=time.time())
    wrong += violations(root, known)
    publish(swap_table(root), FOLDER, NEXT, published_run(root, FOLDER))
    wrong += violations(root, known)
    if published_run(root, FOLDER) != NEXT:
        wrong.append("a plain re-run did not publish")
    if code not in (0, -9):
        wrong.append(f"the child ended with {code}")
    return wrong, fired, ended


def _claim(
    lines: list[str], shown: str | None, may: tuple[str | None, str | None], *, early: bool
) -> list[str]:
    """Compares the table with the process's report: published, not published, or to be completed."""
    before, after = may
    said = lines[-1] if lines else ""
    right = {before, after}
    if said == "done" or "visible already" in said:
        right = {after}
    elif "nothing" in said or "failed" in said:
        right = {before}
    elif "decided" in said and not early:
        right = {after}
    return [] if shown in right else [f"said {said!r}, but {shown} is shown"]
