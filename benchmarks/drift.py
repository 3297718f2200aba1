"""How often the drift verdict alarms without drift, and how often it finds faults; see docs/monitoring.md.

``python benchmarks/drift.py`` prints three tables and writes them to benchmarks/results/drift.json: faults
planted into the flights of 2013, every day of that year against the 30 before, and simulated columns.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import pandas as pd
from drift_flights import fault_table, rolling_table, scored_days
from drift_null import all_cells, null_table, summary

from batchdeploy.core.deployment import DriftSpec

RESULTS = Path(__file__).parent / "results" / "drift.json"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--references", type=int, default=40, help="simulated references of each kind")
    parser.add_argument("--days", type=int, default=25, help="days judged by each of them")
    parser.add_argument("--lengths", default="14,30,90", help="partitions in the simulated references")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    spec = DriftSpec(reference="simulated", false_alarm_rate=arguments.rate)
    days = scored_days()
    tables = {
        "faults": fault_table(days, spec),
        "year": rolling_table(days, spec, previous=30),
        "simulated": _simulated(arguments, spec),
    }
    for name, table in tables.items():
        print(f"\n{name}\n{table.to_string(index=False)}")
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "rate": arguments.rate,
        **{name: table.to_dict("records") for name, table in tables.items()},
    }
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _simulated(arguments: argparse.Namespace, spec: DriftSpec) -> pd.DataFrame:
    cells = all_cells(lengths=[int(length) for length in arguments.lengths.split(",")])
    rows = []
    for row in null_table(cells, spec, references=arguments.references, days=arguments.days):
        print(json.dumps(row), flush=True)
        rows.append(row)
    return summary(rows, arguments.rate)


if __name__ == "__main__":
    main()
