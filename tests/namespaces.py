"""Machines for tests: mount namespaces that share no folder with this process, nor with each other.

Each has empty folders of its own in place of the repository, of the home folder and of all temporary folders;
only the interpreter, its packages and Java are bound back, read-only. The network is this machine's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# NOTE: the folders are opened before anything is mounted over them, and in the new namespace: the kernel does
# not bind a descriptor from another one. `cat` holds the namespace until this process closes its input.
SETUP = """
set -eu
hidden=$1; shift
number=10
for path; do eval "exec $number<\\"\\$path\\""; number=$((number + 1)); done
while IFS= read -r path; do
  if [ -d "$path" ]; then mount -t tmpfs -o mode=1777 tmpfs "$path"; fi
done <<< "$hidden"
number=10
for path; do
  mkdir -p "$path"
  mount -c --bind "/proc/self/fd/$number" "$path"
  mount -o remount,bind,ro "$path"
  eval "exec $number<&-"
  number=$((number + 1))
done
cd /
echo ready
exec cat
"""
UNSHARE = (["--mount"], ["--map-root-user", "--mount"])
# For each of these, what enters such a namespace.
NSENTER = (["--mount"], ["--user", "--preserve-credentials", "--mount"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A mount namespace.

    Attributes:
        pid: of the process that holds it.
        home: a folder that only its processes see, for `HOME` and the working directory.
        environment: variables of all its processes, beside this process's own.
    """

    pid: int
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Its name, as its processes find it in `/proc/self/ns/mnt`."""
        return os.readlink(f"/proc/{self.pid}/ns/mnt")

    def command(self, *words: object) -> list[str]:
        """The command line that executes these words on the machine, in its home folder."""
        entering = ["nsenter", "--target", str(self.pid), *NSENTER[_way()[0]]]
        variables = {"HOME": str(self.home), **self.environment}
        there = ["env", "--chdir", str(self.home), *(f"{name}={value}" for name, value in variables.items())]
        return [*entering, "--", *there, *map(str, words)]

    def run(self, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Executes a command on the machine and waits for its end."""
        environment = os.environ | variables
        return subprocess.run(
            self.command(*words), env=environment, capture_output=True, text=True, check=False, timeout=600
        )

    def crash(self) -> int:
        """Kills every process on the machine, as a power cut would; returns how many. The machine stays."""
        killed = 0
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if int(entry) != self.pid and os.readlink(f"/proc/{entry}/ns/mnt") == self.namespace:
                    os.kill(int(entry), signal.SIGKILL)
                    killed += 1
        return killed

    def copy(self, folder: Path, target: Path) -> None:
        """Copies a folder of this process to the machine, as a deployment of files would."""
        packed = subprocess.run(["tar", "-C", str(folder), "-c", "."], check=True, capture_output=True).stdout
        unpack = ["sh", "-c", 'mkdir -p "$0" && tar -C "$0" -x', target]
        subprocess.run(self.command(*unpack), input=packed, check=True)


@contextmanager
def machine(*, keep: Sequence[Path] = (), environment: Mapping[str, str] | None = None) -> Iterator[Machine]:
    """A machine; skips the test where namespaces are not allowed.

    Args:
        keep: folders that it sees as they are, read-only, beside the interpreter's.
        environment: variables of all its processes.
    """
    number, problem = _way()
    if number < 0:
        pytest.skip(f"needs mount namespaces, and may not make any: {problem}")
    hidden, kept = hidden_folders(), kept_folders(keep)
    command = ["unshare", *UNSHARE[number], "--propagation", "private", "bash", "-c", SETUP, "machine"]
    command += ["\n".join(map(str, hidden)), *map(str, kept)]
    home = Path(tempfile.gettempdir()) / "machine"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "ready\n", "the namespace could not be set up"
            found = Machine(pid=holder.pid, home=home, environment=environment or {})
            making = [
                "nsenter",
                "--target",
                str(holder.pid),
                *NSENTER[number],
                "--",
                "mkdir",
                "-p",
                str(home),
            ]
            subprocess.run(making, check=True)
            yield found
        finally:
            holder.stdin.close()


def hidden_folders() -> list[Path]:
    """The folders that a machine has empty ones in place of, outer ones first."""
    found = {REPOSITORY, Path.home(), *map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"))}
    return sorted({folder.resolve() for folder in found if folder.is_dir()})


def kept_folders(others: Sequence[Path] = ()) -> list[Path]:
    """The folders below hidden ones that a machine sees all the same."""
    java = os.environ.get("JAVA_HOME") or shutil.which("java")
    found = {Path(sys.prefix), Path(sys.base_prefix), *others, *([Path(java)] if java else [])}
    hidden = hidden_folders()
    below = {folder for folder in found if any(folder.is_relative_to(one) for one in hidden)}
    return sorted(below)


@cache
def _way() -> tuple[int, str]:
    """Which of `UNSHARE` this machine allows, or -1, and what it said."""
    said = ""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return -1, "there is no unshare or no nsenter"
    for number, options in enumerate(UNSHARE):
        trying = ["unshare", *options, "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
        done = subprocess.run(trying, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return number, ""
        said = done.stderr.strip() or f"unshare ended with {done.returncode}"
    return -1, said
