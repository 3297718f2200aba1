"""Fuzzes each class of input, and writes what came out: ``make fuzz``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from fuzz.watch import fuzz

RESULTS = Path(__file__).resolve().parent / "results.json"
# More than 100,000 cases in all; a model costs a hundred times as much as an answer.
CASES = {
    "deployments": 20_000,
    "suites": 15_000,
    "references": 20_000,
    "answers": 30_000,
    "parquet": 25_000,
    "models": 5_000,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(CASES)))
@click.option("--seed", type=int, default=20261124, show_default=True, help="tries the same cases again")
@click.option("--scale", type=click.FloatRange(0.001, 10), default=1.0, help="fewer cases, or more")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="where to write figures")
def main(names: tuple[str, ...], seed: int, scale: float, results: Path) -> None:
    """Fuzzes NAMES, or all classes; ends with 1 where anything failed."""
    failed = 0
    for name in names or CASES:
        outcome = fuzz(name, cases=max(1, round(CASES[name] * scale)), seed=seed)
        known = json.loads(results.read_text()) if results.exists() else {}
        figures = asdict(outcome) | {
            "seconds": round(outcome.seconds, 1),
            "slowest": round(outcome.slowest, 2),
        }
        results.write_text(json.dumps(known | {name: {"seed": seed, **figures}}, indent=1) + "\n")
        failed += len(outcome.failures)
        click.echo(
            f"{name}: {outcome.cases:,} cases, {outcome.accepted:,} taken, {len(outcome.failures)} failures, "
            f"the longest took {outcome.slowest:.2f} s; {outcome.seconds:,.0f} s"
        )
        for what, case in outcome.failures.items():
            click.echo(f"    {what}\n        {case[:400]}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
