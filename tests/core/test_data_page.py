"""`docs/data.md`: its YAML is what a deployment file takes, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from batchdeploy.documents import read_deployment

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
# The second cell of the first table: keys of `data`, or of the top level.
CELLS = re.findall(r"^\| .*? \| (.*) \|$", TEXT.partition("\n## ")[0], re.MULTILINE)[1:]
SNIPPETS = [(cell, snippet) for cell in CELLS for snippet in re.findall(r"`(\w+: .+?)`", cell)]
TOP = {"storage", "policy", "model", "engine", "publish"}


def read(tmp_path: Path, *texts: str) -> None:
    """Reads a deployment that has these keys beside those that every deployment has."""
    document = {
        "name": "flights",
        "model": {"name": "flights"},
        "output": {"path": "scores/flights", "columns": {"p": "double"}},
        "data": {"path": "data/flights", "partition": {"column": "date"}, "keys": ["flight_id"]},
    }
    for text in texts:
        for key, value in YAML(typ="safe").load(text).items():
            if key in document and isinstance(value, dict):
                document[key] = {**document[key], **value}
            else:
                document[key] = value
    file = tmp_path / "flights.yaml"
    with file.open("w") as stream:
        YAML().dump(document, stream)
    read_deployment(file)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_example_is_a_deployment(tmp_path: Path, block: str) -> None:
    read(tmp_path, block)


@pytest.mark.parametrize(("cell", "snippet"), SNIPPETS)
def test_each_answer_of_the_table_is_one_of_a_deployment(tmp_path: Path, cell: str, snippet: str) -> None:
    own = snippet if snippet.partition(":")[0] in TOP else f"data: {{{snippet}}}"
    # What a revision may be depends on the format.
    read(tmp_path, *(f"data: {{{found}}}" for found in re.findall(r"`(format: \w+)`", cell)), own)


def test_the_page_has_examples() -> None:
    assert len(BLOCKS) >= 3
    assert len(SNIPPETS) >= 15


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_links_lead_to_files_and_their_headings(target: str) -> None:
    name, _, anchor = target.partition("#")
    linked = (PAGE.parent / name).resolve() if name else PAGE
    headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert not anchor or anchor in anchors
