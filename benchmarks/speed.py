"""Measures rows per second against the alternatives: the same work, in alternating turns, in one run.

``python benchmarks/speed.py`` prints medians and ratios, and writes benchmarks/results/speed.json and
speed.png. Each contender is a new process that warms up on a small partition; see contenders.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from contenders import CONTENDERS, ON_REQUEST
from workloads import WORKLOADS, make

HERE = Path(__file__).parent
YARDSTICK = "spark_udf"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(WORKLOADS)))
@click.option("--rounds", default=3, show_default=True, help="each contender's turns; medians are shown")
@click.option("--scale", default=1.0, show_default=True, help="of the rows")
@click.option("--only", multiple=True, type=click.Choice(list(CONTENDERS)), help="these contenders")
@click.option(
    "--home", default=HERE / ".data", type=click.Path(path_type=Path), help="where the rows are kept"
)
@click.option("--name", "stem", default="speed", show_default=True, help="of the files of results")
@click.option("--results", default=HERE / "results", type=click.Path(path_type=Path))
def main(
    names: tuple[str, ...],
    rounds: int,
    scale: float,
    only: tuple[str, ...],
    home: Path,
    stem: str,
    results: Path,
) -> None:
    """Runs the workloads of NAMES, or all."""
    cores = os.cpu_count() or 1
    results.mkdir(parents=True, exist_ok=True)
    file = results / f"{stem}.json"
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name in names or WORKLOADS:
        workload = WORKLOADS[name]
        rows = int(workload.rows * scale)
        root = make(workload, home, rows=rows, cores=cores)
        contenders = [c for c in only or CONTENDERS if c != "ray_data" or importlib.util.find_spec("ray")]
        contenders = [c for c in contenders if only or c not in ON_REQUEST]
        turns: dict[str, list[dict[str, float]]] = {contender: [] for contender in contenders}
        for turn in range(rounds):
            for contender in contenders[turn % len(contenders) :] + contenders[: turn % len(contenders)]:
                if (found := measure(contender, root, cores, rows)) is not None:
                    turns[contender].append(found)
            done = {contender: found for contender, found in turns.items() if found}
            known[name] = {"rows": rows, "machine": machine(), "contenders": summary(done, rows)}
            # After each turn of all, because the next ones take long.
            file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        show(name, known[name])
    picture(known, results / f"{stem}.png")


def measure(contender: str, root: Path, cores: int, rows: int) -> dict[str, float] | None:
    """One turn of one contender; None if it failed, which is printed and does not affect the others."""
    command = [sys.executable, str(HERE / "contenders.py"), contender, str(root), str(cores)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        # Output goes to files, and the whole session is killed, because workers and JVMs outlive their parent
        # and would keep pipes open.
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        code = process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        said, complaint = out.read().strip(), err.read()
    if code:
        click.echo(f"{contender} failed:\n{complaint[-3000:]}", err=True)
        return None
    turn: dict[str, float] = json.loads(said.splitlines()[-1])
    assert turn["rows"] == rows, (contender, turn)
    return turn


def summary(turns: dict[str, list[dict[str, float]]], rows: int) -> dict[str, Any]:
    """Medians, and ratios to the baseline and to the limit."""
    seconds = {name: statistics.median(turn["seconds"] for turn in found) for name, found in turns.items()}
    return {
        name: {
            "seconds": round(median, 2),
            "rows_a_second": round(rows / median),
            **{
                f"times {other}": round(seconds[other] / median, 2)
                for other in (YARDSTICK, "limit")
                if other in seconds
            },
            "peak_mib": max(turn["peak_mib"] for turn in turns[name]),
            "all": [round(turn["seconds"], 2) for turn in turns[name]],
        }
        for name, median in seconds.items()
    }


def machine() -> str:
    """A description of this machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def show(name: str, found: dict[str, Any]) -> None:
    """Prints the results of a workload as a table."""
    click.echo(f"{name}: {found['rows']:,} rows on {found['machine']}")
    for contender, figures in found["contenders"].items():
        ratio = figures.get(f"times {YARDSTICK}", "")
        click.echo(
            f"  {contender:32}{figures['seconds']:9.2f} s{figures['rows_a_second']:12,} rows/s{ratio:>8}"
        )


def picture(known: dict[str, Any], file: Path) -> None:
    """Draws a bar chart of rows per second as multiples of the baseline."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {name: known[name] for name in sorted(known) if YARDSTICK in known[name]["contenders"]}
    if not shown:
        return
    figure, panels = plt.subplots(1, len(shown), figsize=(5.5 * len(shown), 3.6), squeeze=False)
    for panel, (name, found) in zip(panels[0], shown.items(), strict=True):
        ratios = {c: f[f"times {YARDSTICK}"] for c, f in found["contenders"].items()}
        bars = panel.barh(
            list(ratios),
            list(ratios.values()),
            color=["#2a6f97" if "batchdeploy" in c else "#b0b0b0" for c in ratios],
        )
        panel.bar_label(bars, fmt="%.1f×", padding=3)
        panel.invert_yaxis()
        panel.set_title(f"{name}, {WORKLOADS[name].summary}: {found['rows']:,} rows")
        panel.set_xlabel(f"rows a second, times {YARDSTICK}")
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.15)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
