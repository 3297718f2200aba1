"""What every source of texts does: the one in memory, and the files of a project."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import FakeTexts

from batchdeploy.errors import DataError
from batchdeploy.ports import TextSource
from batchdeploy.storage.project_texts import TextFiles

Put = Callable[[str, str], object]


@pytest.fixture(params=["fake", "files"])
def texts(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[TextSource, Put]:
    """A source without a text, and what puts one there."""
    if request.param == "fake":
        fake = FakeTexts()
        return fake, fake.texts.__setitem__
    return TextFiles(tmp_path), lambda path, text: (tmp_path / path).write_text(text, encoding="utf-8")


def test_a_text_is_read_with_its_pin_and_again_by_it(texts: tuple[TextSource, Put]) -> None:
    source, put = texts
    put("suite.json", "größer")
    text, pin = source.read("suite.json", key="expectations")
    assert text == "größer"
    assert (pin.path, pin.sha256) == ("suite.json", hashlib.sha256("größer".encode()).hexdigest())
    assert source.read_pinned(pin) == text


def test_another_text_is_not_the_pinned_one(texts: tuple[TextSource, Put]) -> None:
    source, put = texts
    put("suite.json", "before")
    _, pin = source.read("suite.json", key="expectations")
    put("suite.json", "after")
    with pytest.raises(DataError, match="changed since it was planned"):
        source.read_pinned(pin)


def test_a_text_that_is_not_there_names_the_key(texts: tuple[TextSource, Put]) -> None:
    with pytest.raises(DataError, match=r"suite\.json(.|\n)*expectations"):
        texts[0].read("suite.json", key="expectations")
