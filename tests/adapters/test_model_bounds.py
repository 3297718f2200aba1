"""What a registry hands over is bounded before any of it is parsed."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests_support import register_folder

from batchdeploy.adapters.mlflow import MlflowRegistry, mlmodel_file
from batchdeploy.adapters.mlflow.mlmodel_file import check_small_files, read_mlmodel
from batchdeploy.core.deployment import ModelRef
from batchdeploy.core.policy import LimitsSpec
from batchdeploy.errors import RegistryError, RequestError

GOOD = """\
flavors:
  python_function: {loader_module: mlflow.onnx, data: model.onnx}
signature: {inputs: '[{"name": "a", "type": "double"}]'}
"""
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 8)}]\n" for level in range(1, 30)
)
DESCRIPTIONS = {
    "aliases that grow": (f"{BOMB}flavors: {{lightgbm: {{model_class: *a29}}}}", "more than 20000 values"),
    "an alias to itself": ("flavors: &a {b: *a}", "an alias that leads to itself"),
    "many values": ("\n".join(f"a{n}: 1" for n in range(15_000)), "more than 20000 values"),
    "200 levels": (f"flavors: {'[' * 200}", "deeper than 32 levels"),
    "a million levels": (f"flavors: {'[' * 1_000_000}", "deeper than 32 levels"),
    "a number to the base of 60": (f"a: {':'.join(['1'] * 400_000)}", "a number of 799999 digits"),
    "a tag": ("flavors: !!python/object/apply:os.getcwd []", "has a tag"),
    "much text": (f"# {'x' * 3_000_000}", "is larger than 2 MiB, got 2.9 MiB"),
    "no text": ("\x00\x01", "is no description of a model"),
    "a list": ("[1, 2]", "is no description of a model"),
    "no flavors": ("flavors: [python_function]", "names no flavors"),
    "a signature of a thousand levels": (
        f"signature: {{inputs: '{'[' * 100_000}'}}", "is no description of a model: RecursionError",
    ),
    "an example elsewhere": (
        f"{GOOD}saved_input_example_info: {{type: dataframe, artifact_path: ../../dev/zero}}",
        "is not beside it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_that_would_take_long_is_refused_before_it_is_parsed(name: str, tmp_path: Path) -> None:
    text, refusal = DESCRIPTIONS[name]
    file = tmp_path / "MLmodel"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match=refusal):
        read_mlmodel(file, "model m version 1")


def test_aliases_that_stay_small_are_read(tmp_path: Path) -> None:
    file = tmp_path / "MLmodel"
    file.write_text(GOOD + "metadata: {a: &a [1, 2], b: *a}\n", encoding="utf-8")
    assert read_mlmodel(file, "m").metadata == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("member", "mebibytes", "refusal"),
    [
        ("schema.json", 65, "a schema.json larger than 64 MiB"),
        ("0.npy", 8, "unpacks to 8 MiB, more than 200 times its size"),
    ],
)
def test_a_skops_file_that_unpacks_to_far_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str, mebibytes: int, refusal: str
) -> None:
    # A lower limit, because compressing a gibibyte takes too long.
    monkeypatch.setattr(mlmodel_file, "MIN_UNPACKED_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "model.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, bytes(mebibytes << 20))
    with pytest.raises(RequestError, match=refusal):
        check_small_files(tmp_path, "model m version 1")


def test_small_files_are_small(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(b"no archive")
    check_small_files(tmp_path, "m")
    (tmp_path / "requirements.txt").write_bytes(bytes(3 << 20))
    with pytest.raises(RequestError, match=r"requirements.txt: is larger than 2 MiB"):
        check_small_files(tmp_path, "m")


def many_files(folder: Path) -> None:
    for number in range(60):
        (folder / f"{number}").touch()


def folders_without_end(folder: Path) -> None:
    (folder / "again").symlink_to(folder)
    (folder / "and").symlink_to(folder)


def much(folder: Path) -> None:
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(3 << 30)


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def wide(folder: Path) -> None:
    shape = '{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 1000000000]}}'
    described = GOOD.replace("signature: {", f"signature: {{outputs: '[{shape}]', ")
    (folder / "MLmodel").write_text(described, encoding="utf-8")


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "many files": (many_files, "are more than limits.model_files, got over 50"),
    "folders without end": (folders_without_end, "are more than limits.model_files, got over 50"),
    "many bytes": (much, "are more than limits.model_gib, got over 2 GiB"),
    "a pipe": (a_pipe, "is no plain file"),
    "a billion outputs": (wide, "outputs: are too many, got 1000000000"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_model_that_is_too_large_is_refused_before_it_is_fetched(project: Path, name: str) -> None:
    spoil, refusal = FOLDERS[name]
    folder = project / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(GOOD, encoding="utf-8")
    spoil(folder)
    register_folder(project, folder)
    uri = f"sqlite:///{project / 'mlflow.db'}"
    limits = replace(LimitsSpec(), model_files=50, model_gib=2)
    with pytest.raises(RequestError, match=refusal):
        MlflowRegistry(uri, limits=limits).resolve(ModelRef(name="churn"))


def test_moved_files_are_not_a_model_that_never_was(project: Path) -> None:
    folder = project / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(GOOD, encoding="utf-8")
    register_folder(project, folder)
    shutil.rmtree(folder)
    with pytest.raises(RegistryError, match="holds no files: they were moved") as caught:
        MlflowRegistry(f"sqlite:///{project / 'mlflow.db'}").resolve(ModelRef(name="churn"))
    assert folder.as_uri() in str(caught.value)
