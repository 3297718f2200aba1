"""Where caches lie if the control folder is in a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from batchdeploy.core.deployment import OutputRef
from batchdeploy.core.layout import Layout
from batchdeploy.errors import OutsideError
from batchdeploy.host.cache_folder import with_cache_folder

OUTPUT = OutputRef(path="s3://lake/scores/churn", columns={"y": "double"})


def make_read_only(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Denies this user, who may be root, to write to these folders."""
    allowed = os.access

    def access(place: Any, mode: int) -> bool:
        return allowed(place, mode) and not (mode & os.W_OK and Path(place) in folders)

    monkeypatch.setattr("os.access", access)


def test_caches_are_in_the_project_if_it_can_be_written(tmp_path: Path) -> None:
    layout = with_cache_folder(Layout.of(tmp_path, OUTPUT))
    assert layout.models == tmp_path / "runs" / "lake-scores-churn.batchdeploy" / "models"
    assert str(layout.place("runs")) == "s3://lake/scores/churn.batchdeploy/runs"


def test_a_read_only_project_has_its_caches_elsewhere_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    project, cache = tmp_path / "project", tmp_path / "cache"
    project.mkdir()
    cache.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    make_read_only(monkeypatch, project)
    layout = with_cache_folder(Layout.of(project, OUTPUT))
    assert layout.models.is_relative_to(cache / "batchdeploy")
    assert str(layout.place("runs")) == "s3://lake/scores/churn.batchdeploy/runs"
    assert f"cannot be written; fetched models are kept in {cache}" in caplog.text
    other = with_cache_folder(Layout.of(project, OutputRef(path="s3://b/x", columns={"y": "double"})))
    assert other.models != layout.models


def test_a_checkout_has_its_caches_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = tmp_path / "bundles" / "churn" / "versions" / ("a" * 40)
    root.mkdir(parents=True)
    assert not with_cache_folder(Layout.of(root, OUTPUT)).models.is_relative_to(root)


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    make_read_only(monkeypatch, project, home)
    mine = with_cache_folder(Layout.of(project, OUTPUT)).control.parent
    assert mine.stat().st_mode & 0o777 == 0o700
    mine.rmdir()
    mine.symlink_to(home)
    with pytest.raises(OutsideError, match="belongs to another user"):
        with_cache_folder(Layout.of(project, OUTPUT))


def test_a_local_control_folder_stays(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path, OutputRef(path="scores", columns={"y": "double"}))
    assert with_cache_folder(layout) is layout
