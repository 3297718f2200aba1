"""Fakes whose records lie in a folder, for workflows that write records there by themselves."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import fakes.toolbox
import pytest

from batchdeploy.core.layout import Layout
from batchdeploy.storage.files import Disk
from batchdeploy.storage.folder_storage import FolderStorage
from batchdeploy.storage.locking import locked


@pytest.fixture
def control_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Gives the toolbox of fakes a control folder on disk, and the same folder as its storage."""
    layout = Layout(tmp_path / "scores")

    def storage() -> FolderStorage:
        return FolderStorage(layout.control, partial(locked, layout, 30.0), Disk())

    monkeypatch.setattr(fakes.toolbox, "ROOT", tmp_path)
    monkeypatch.setattr(fakes.toolbox, "FakeStorage", storage)
    return layout
