"""What a page may be read from: regular files of one name, within a size; and which keys pages have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batchdeploy.core.layout import attempt_key, comparison_key, is_comparison_key, is_page_key, run_key
from batchdeploy.storage import guarded_folder
from batchdeploy.storage.guarded_folder import GuardedFolder
from batchdeploy.storage.run_records import RunRecords

RUN = run_key("date=2024-03-02", "a" * 16)


def second_name(file: Path, elsewhere: Path) -> None:
    os.link(elsewhere, file)


FORBIDDEN: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda file, elsewhere: file.symlink_to(elsewhere),
    "a second name": second_name,
    "a named pipe": lambda file, _elsewhere: os.mkfifo(file),
    "a folder": lambda file, _elsewhere: file.mkdir(),
    "a larger file": lambda file, _elsewhere: file.write_bytes(b"x" * 101),
    "nothing": lambda _file, _elsewhere: None,
}


@pytest.mark.parametrize("put", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_may_not_be_read_is_as_good_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path, Path], object]
) -> None:
    monkeypatch.setattr(guarded_folder, "MAX_BYTES", 100)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("secret")
    control = tmp_path / "scores.batchdeploy"
    folder = control / RUN
    folder.mkdir(parents=True)
    put(folder / "report.html", elsewhere)
    storage = GuardedFolder(control)
    assert storage.read(f"{RUN}/report.html") is None
    assert RunRecords(storage).find_page(RUN) is None
    with pytest.raises(FileNotFoundError):
        storage.open_input(f"{RUN}/report.html")


def test_a_page_is_read(tmp_path: Path) -> None:
    folder = tmp_path / RUN
    folder.mkdir(parents=True)
    (folder / "report.html").write_bytes("<p>ü".encode() + b"\xff")
    storage = GuardedFolder(tmp_path)
    assert RunRecords(storage).find_page(RUN) == "<p>ü�"
    assert storage.open_input(f"{RUN}/report.html").read() == "<p>ü".encode() + b"\xff"


@pytest.mark.parametrize(
    ("key", "page", "comparison"),
    [
        (f"{RUN}/report.html", True, False),
        (f"{attempt_key('date=2024-03-02', 'a' * 16, '2024beef')}/report.html", True, False),
        (comparison_key("date=2024-03-02", "1-2-20240302.json"), False, True),
        (f"{RUN}/plan.json", False, False),
        (f"{RUN}/other/report.html", False, False),
        (f"x/{RUN}/report.html", False, False),
        (f"{RUN}/report.html/x", False, False),
        (comparison_key("date=2024-03-02", "secret.json"), False, False),
        ("report.html", False, False),
        ("", False, False),
    ],
)
def test_only_reports_and_comparisons_may_be_asked_for(key: str, page: bool, comparison: bool) -> None:
    assert (is_page_key(key), is_comparison_key(key)) == (page, comparison)
