"""Checks a table in an object store after a fault, with obstore and pyarrow only, and no code under test."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.store import AzureStore, S3Store

from faults.oracle import Content, content_of

# Azurite's own account, which it documents; moto takes any.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
Expected = Mapping[tuple[str, str], Content]


def open_bucket(uri: str, endpoint: str) -> Any:
    """obstore's store of a bucket of moto or azurite."""
    name, plain = uri.partition("://")[2], {"allow_http": True}
    if uri.startswith("az://"):
        return AzureStore(
            name, account_name=ACCOUNT, account_key=KEY, endpoint=endpoint, client_options=plain
        )
    return S3Store(
        name,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="test",
        secret_access_key="test",
        client_options=plain,
    )


def read(store: Any, key: str) -> bytes | None:
    """The bytes under a key; None if nothing is there."""
    try:
        return bytes(obstore.get(store, key).bytes())
    except FileNotFoundError:
        return None


def pointer(store: Any, table: str) -> dict[str, Any]:
    """The pointer document of a table; an empty one if nothing was ever published."""
    found = read(store, f"{table}/current.json")
    document: dict[str, Any] = {"version": 0, "partitions": {}} if found is None else json.loads(found)
    return document


def published_run(store: Any, table: str, folder: str) -> str | None:
    """The run that the pointer names for a partition."""
    entry = pointer(store, table)["partitions"].get(folder)
    return None if entry is None else str(entry["run_id"])


def violations(
    store: Any, table: str, expected: Expected, *, settled: bool = True, collected: bool = False
) -> list[str]:
    """All violations in a published table.

    Args:
        store: the bucket, from `open_bucket`.
        table: the table's key.
        expected: the rows of each run in each partition; any other run is a violation.
        settled: whether recovery has run; before it, the records of a published run may be missing.
        collected: whether garbage was collected long after; then every object is named by a generation.
    """
    document = pointer(store, table)
    listed = {entry["path"]: entry["size"] for chunk in obstore.list(store, f"{table}/") for entry in chunk}
    found, named = [], {f"{table}/current.json"}
    for folder, entry in sorted(document["partitions"].items()):
        generations = [entry, *entry["earlier"]]
        runs = [one["run_id"] for one in generations]
        if len(set(runs)) != len(runs):
            found.append(f"doubled: {folder} names a run twice: {runs}")
        for one in generations:
            named |= {f"{table}/{file['path']}" for file in one["files"]} | {f"{table}/{one['manifest']}"}
            found += _generation(store, table, (folder, one), (expected, listed))
    if collected:
        found += [f"leftovers: {path}" for path in sorted(listed.keys() - named)]
    return [*found, *_records(store, table, document)] if settled else found


def _generation(
    store: Any, table: str, shown: tuple[str, Mapping[str, Any]], known: tuple[Expected, Mapping[str, int]]
) -> Iterator[str]:
    folder, entry = shown
    expected, listed = known
    run, tables = entry["run_id"], []
    for file in entry["files"]:
        path = f"{table}/{file['path']}"
        content = read(store, path)
        if content is None:
            yield f"missing: {folder} of run {run} names {path}"
            continue
        if listed.get(path) != len(content):
            yield f"listing: {path} has {len(content)} bytes and is listed with {listed.get(path)}"
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            yield f"torn: {path} is not the file that the pointer names"
            continue
        tables.append(pq.read_table(io.BytesIO(content), use_threads=False))
    if len(tables) != len(entry["files"]):
        return
    rows = pa.concat_tables(tables)
    if (inside := set(rows["_run_id"].to_pylist())) != {run}:
        yield f"mixed: {folder} names {run} but holds rows of {sorted(inside)}"
    wanted = expected.get((folder, run))
    if wanted is None:
        yield f"unknown: {folder} names the run {run}"
    elif (content_ := content_of(rows)) != wanted:
        yield f"wrong rows: {folder} of run {run}: {content_} instead of {wanted}"
    manifest = read(store, f"{table}/{entry['manifest']}")
    digests = {} if manifest is None else {f["path"]: f["sha256"] for f in json.loads(manifest)["files"]}
    if digests != {file["path"].rpartition("/")[2]: file["sha256"] for file in entry["files"]}:
        yield f"manifest: that of {run} does not list the files of {folder}"


def _records(store: Any, table: str, document: Mapping[str, Any]) -> Iterator[str]:
    """The records in the control folder beside the table: each published run's manifest, the audit log."""
    control = f"{table}.batchdeploy"
    for folder, entry in sorted(document["partitions"].items()):
        shown = read(store, f"{control}/runs/{folder}/{entry['run_id']}/manifest.json")
        if shown is None:
            yield f"no manifest: {folder} shows {entry['run_id']}"
        elif shown != read(store, f"{table}/{entry['manifest']}"):
            yield f"manifest: the records of {entry['run_id']} hold another than {folder} shows"
    lines = (read(store, f"{control}/audit.jsonl") or b"").decode().splitlines()
    if len(lines) != len(set(lines)):
        yield "the audit says something twice"
