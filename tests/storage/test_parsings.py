"""How often a run parses records: a process never parses what it wrote itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tests_support import Result

import batchdeploy
from batchdeploy import assembly, documents
from batchdeploy.core.records import Plan
from batchdeploy.documents import to_json
from batchdeploy.storage.run_records import FILES

pytestmark = pytest.mark.slow

Cli = Callable[..., Result]
DAY = "2024-03-02"
NAMES = {kind.__name__ for kind in FILES}


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many texts were parsed into each kind of record."""
    counts: Counter[str] = Counter()
    real = documents.from_json

    def count(kind: type, *arguments: Any, **named: Any) -> Any:
        counts[kind.__name__] += 1
        return real(kind, *arguments, **named)

    monkeypatch.setattr(documents, "from_json", count)
    for name in users_of_documents():
        module = import_module(name)
        if getattr(module, "from_json", None) is real:
            monkeypatch.setattr(module, "from_json", count)
    return counts


def users_of_documents() -> list[str]:
    """The modules that parse records; one that was loaded later would keep the counter beyond the test."""
    house = Path(batchdeploy.__file__).parent
    files = (file for file in house.rglob("*.py") if "from_json" in file.read_text(encoding="utf-8"))
    names = (".".join(file.relative_to(house.parent).with_suffix("").parts) for file in files)
    return [name.removesuffix(".__init__") for name in names if ".airflow." not in name]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The records of runs that were parsed as plain JSON."""
    found: list[dict[str, Any]] = []
    real = json.loads

    def load(*arguments: Any, **named: Any) -> Any:
        document = real(*arguments, **named)
        # NOTE: entries of a pointer have a run and files, too.
        if isinstance(document, dict) and {"planned_at", "started_at", "keys_in"} & set(document):
            found.append(document)
        return document

    monkeypatch.setattr(json, "loads", load)
    return found


def records_in(counts: Counter[str]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if name in NAMES}


@pytest.mark.parametrize("mode", ["swap", "pointer"])
def test_a_first_run_parses_no_record(
    parsed: Counter[str], loaded: list[Any], deployment: Path, cli: Cli, mode: str
) -> None:
    deployment.write_text(deployment.read_text() + f"publish: {{mode: {mode}}}\n")
    result = cli("run", deployment, "--partition", DAY)
    assert result.code == 0, result.err
    assert records_in(parsed) == {}
    assert parsed["Reference"] == 1
    # An attempt's state is looked up where it matters, because another process may have changed it.
    assert set((parsed - Counter(AttemptRecord=parsed["AttemptRecord"])).values()) == {1}, parsed
    assert loaded == []


def test_a_first_run_in_a_notebook_parses_no_record(parsed: Counter[str], deployment: Path) -> None:
    assert batchdeploy.load(deployment).run(DAY).status == "published"
    assert records_in(parsed) == {}
    assert parsed["Reference"] == 1


def test_a_run_that_is_refused_parses_no_record_twice(
    parsed: Counter[str], deployment: Path, cli: Cli
) -> None:
    suite = deployment.parents[1] / "expectations" / "customers.json"
    suite.write_text(suite.read_text().replace("120", "1"))
    assert cli("run", deployment, "--partition", DAY).code == 1
    assert all(number == 1 for number in records_in(parsed).values())


def test_a_run_that_is_identical_parses_its_manifest_only(
    parsed: Counter[str], deployment: Path, cli: Cli
) -> None:
    assert cli("run", deployment, "--partition", DAY).code == 0
    assert cli("run", deployment, "--partition", DAY).code == 0
    assert records_in(parsed) == {"Manifest": 1}


def test_records_are_written_as_they_would_be_again(deployment: Path, cli: Cli) -> None:
    """What a process keeps in hand and what another one parses is the same record."""
    result = cli("run", deployment, "--partition", DAY, "--json")
    folder = Path(result.json["folder"])
    records = assembly.records_in(folder)
    for kind, name in FILES.items():
        if (record := records.find("", kind)) is not None:
            assert to_json(record) == (folder / name).read_text(encoding="utf-8")
    assert records.find("", Plan) is not None
