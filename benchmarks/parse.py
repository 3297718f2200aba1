"""Measures the CPU time of parsing DAG files: one file in its own process, and 50 and 200 in one process.

`import airflow.sdk` is not included. Airflow parses a DAG file every half minute and in every task. Prints
the minimum of several measurements, which other work on the machine affects least, and writes
benchmarks/results/parse.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ONE = """
import sys, time
start = time.process_time()
import airflow.sdk
sdk = time.process_time()
import runpy
for file in sys.argv[1:]:
    runpy.run_path(file)
print(sdk - start, time.process_time() - sdk)
"""


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as scratch:
        files = write_deployments(Path(scratch), 200)
        figures = {
            "one_ms": [1000 * measure([str(REPOSITORY / "dags" / "flights.py")])[1] for _ in range(repeats)],
            "plain_ms": [1000 * measure([str(Path(scratch) / "plain.py")])[1] for _ in range(repeats)],
            "fifty_s": [measure(files[:50])[1] for _ in range(3)],
            "two_hundred_s": [measure(files)[1] for _ in range(3)],
        }
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "least": {name: round(min(values), 3) for name, values in figures.items()},
        "all": {name: [round(value, 3) for value in values] for name, values in figures.items()},
    }
    print(json.dumps(result["least"], indent=1))
    folder = REPOSITORY / "benchmarks" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parse.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def write_deployments(folder: Path, count: int) -> list[str]:
    """Writes ``count`` deployments with a DAG file each, and a plain DAG of five tasks for comparison."""
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    text = (REPOSITORY / "dags" / "flights.yaml").read_text(encoding="utf-8")
    files = []
    for number in range(count):
        named = text.replace("name: flights-delay\nowner", f"name: flights-{number}\nowner")
        (folder / f"d{number}.yaml").write_text(named, encoding="utf-8")
        file = folder / f"d{number}.py"
        code = f'from batchdeploy.airflow import ScoringDag\n\ndag = ScoringDag("d{number}.yaml")\n'
        file.write_text(code, encoding="utf-8")
        files.append(str(file))
    plain = (
        "from airflow.sdk import DAG, CronPartitionTimetable, BaseOperator\n"
        'days = CronPartitionTimetable("0 6 * * *", timezone="UTC")\n'
        'with DAG("plain", schedule=days) as dag:\n'
        "    for name in 'abcde':\n"
        "        BaseOperator(task_id=name)\n"
    )
    (folder / "plain.py").write_text(plain, encoding="utf-8")
    return files


def measure(files: list[str]) -> tuple[float, float]:
    """The CPU seconds of `import airflow.sdk` and of parsing the files after it, in a new process."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"AIRFLOW_HOME": home, "PYTHONWARNINGS": "ignore"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", ONE, *files]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    sdk, beyond = done.stdout.split()[-2:]
    return float(sdk), float(beyond)


if __name__ == "__main__":
    main()
