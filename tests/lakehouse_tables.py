"""Delta and Iceberg tables for tests, with the deletion vectors and delete files of other writers."""

from __future__ import annotations

import json
import struct
import time
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# The alphabet of Z85, https://rfc.zeromq.org/spec/32/
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
# The number that begins a deletion vector, as Delta's protocol gives it.
MAGIC = 1681511377


def commit(table: Path, *actions: dict[str, Any]) -> None:
    """Writes the next version of a Delta table by hand."""
    log = table / "_delta_log"
    version = len(list(log.glob("*.json")))
    info = {"timestamp": _now(), "operation": "MANUAL", "operationParameters": {}}
    lines = [json.dumps(action) for action in ({"commitInfo": info}, *actions)]
    (log / f"{version:020d}.json").write_text("\n".join(lines))


def actions(table: Path, kind: str) -> list[dict[str, Any]]:
    """All actions of a kind in a Delta table's log, in order."""
    files = sorted((table / "_delta_log").glob("*.json"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [action[kind] for action in map(json.loads, lines) if kind in action]


def add_deletion_vector(table: Path, rows: list[int]) -> None:
    """Marks rows of a Delta table's last added file as deleted, as Spark and Databricks do."""
    from pyroaring import BitMap

    add = actions(table, "add")[-1]
    vector = struct.pack("<iqi", MAGIC, 1, 0) + BitMap(rows).serialize()
    marked = {
        "storageType": "i",
        "pathOrInlineDv": _z85(vector),
        "sizeInBytes": len(vector),
        "cardinality": len(rows),
    }
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    gone = {name: add[name] for name in ("path", "partitionValues", "size")}
    commit(
        table,
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"remove": {**gone, "deletionTimestamp": _now(), "dataChange": True, "extendedFileMetadata": True}},
        {"add": {**add, "deletionVector": marked}},
    )


def _z85(content: bytes) -> str:
    content += b"\0" * (-len(content) % 4)
    text = ""
    for start in range(0, len(content), 4):
        value, digits = int.from_bytes(content[start : start + 4], "big"), ""
        for _ in range(5):
            digits, value = Z85[value % 85] + digits, value // 85
        text += digits
    return text


def _now() -> int:
    return int(time.time() * 1000)


def iceberg_catalog(folder: Path) -> Any:
    """A new SQLite catalog whose tables lie in the same folder."""
    from pyiceberg.catalog import load_catalog

    folder.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{folder / 'catalog.db'}"
    catalog = load_catalog("lake", type="sql", uri=uri, warehouse=folder.as_uri())
    catalog.create_namespace("crm")
    return catalog


def add_delete_file(
    table: Any, rows: pa.Table, *, equality_ids: list[int] | None = None, partition: tuple[Any, ...] = ()
) -> str:
    """Adds a file of deleted rows to an Iceberg table's newest snapshot, as merge-on-read writers do.

    Args:
        table: of pyiceberg.
        rows: the values of the deleted rows' columns, or the ``file_path`` and ``pos`` of each.
        equality_ids: the ids of these columns; None for positions.
        partition: the values of the table's partition that the rows belong to, as manifests hold them.

    Returns:
        The location of the metadata file that has the new snapshot.
    """
    from pyiceberg.manifest import (
        DataFile,
        DataFileContent,
        FileFormat,
        ManifestContent,
        ManifestEntry,
        ManifestEntryStatus,
        ManifestWriterV2,
        write_manifest_list,
    )
    from pyiceberg.typedef import Record

    class DeleteManifest(ManifestWriterV2):
        def content(self) -> ManifestContent:
            return ManifestContent.DELETES

    folder = Path(table.location().removeprefix("file://"))
    target = folder / "data" / f"{uuid.uuid4().hex}-deletes.parquet"
    pq.write_table(rows, target)
    metadata = json.loads(Path(table.metadata_location.removeprefix("file://")).read_text())
    before = table.current_snapshot()
    snapshot_id, sequence = before.snapshot_id + 1, metadata["last-sequence-number"] + 1
    kind = DataFileContent.POSITION_DELETES if equality_ids is None else DataFileContent.EQUALITY_DELETES
    deleted = DataFile.from_args(
        content=kind,
        file_path=target.as_uri(),
        file_format=FileFormat.PARQUET,
        partition=Record(*partition),
        record_count=rows.num_rows,
        file_size_in_bytes=target.stat().st_size,
        equality_ids=equality_ids,
    )
    deleted.spec_id = table.spec().spec_id
    names = [folder / "metadata" / f"{part}-{snapshot_id}.avro" for part in ("deletes", "snap")]
    outputs = [table.io.new_output(name.as_uri()) for name in names]
    with DeleteManifest(table.spec(), table.schema(), outputs[0], snapshot_id, "null") as writer:
        entry = {"status": ManifestEntryStatus.ADDED, "snapshot_id": snapshot_id, "data_file": deleted}
        writer.add_entry(ManifestEntry.from_args(**entry))
    manifest = writer.to_manifest_file()
    with write_manifest_list(2, outputs[1], snapshot_id, before.snapshot_id, sequence, "null") as listed:
        listed.add_manifests([*before.manifests(table.io), manifest])
    snapshot = {
        "snapshot-id": snapshot_id,
        "parent-snapshot-id": before.snapshot_id,
        "sequence-number": sequence,
        "timestamp-ms": metadata["last-updated-ms"] + 1,
        "manifest-list": names[1].as_uri(),
        "summary": {"operation": "delete"},
        "schema-id": metadata["current-schema-id"],
    }
    metadata["snapshots"].append(snapshot)
    metadata |= {"current-snapshot-id": snapshot_id, "last-sequence-number": sequence}
    metadata["refs"] = {"main": {"snapshot-id": snapshot_id, "type": "branch"}}
    written = folder / "metadata" / f"99999-{snapshot_id}.metadata.json"
    written.write_text(json.dumps(metadata))
    return str(written)
