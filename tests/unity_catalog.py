"""A local server, not the real service, that speaks what MLflow's client uses of Unity Catalog's REST."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SIGNATURE = "presigned-Qz7-signature"


class UnityCatalog:
    """The catalog of a workspace.

    Attributes:
        versions: by three-level model name, the folders of its versions, from 1 on.
        aliases: by model name and alias, the version.
        failures: part of a path to the status, error code and message that it is answered with.
        requests: the paths that were asked for, and whether the token was there.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.versions: dict[str, list[Path]] = {}
        self.aliases: dict[tuple[str, str], int] = {}
        self.failures: dict[str, tuple[int, str, str]] = {}
        self.requests: list[str] = []
        self.address = ""

    def answer(self, method: str, target: str, body: bytes, token: str | None) -> tuple[int, bytes]:
        url = urlsplit(target)
        self.requests.append(f"{method} {url.path}")
        for part, (status, code, message) in self.failures.items():
            if part in url.path:
                return status, json.dumps({"error_code": code, "message": message}).encode()
        if url.path.startswith("/store/"):
            signed = f"X-Amz-Signature={SIGNATURE}" in url.query
            return (200, self._file(url.path.removeprefix("/store")).read_bytes()) if signed else (403, b"")
        if url.path.startswith("/.well-known"):
            return 404, b"{}"
        if token != f"Bearer {self.token}":
            return 401, json.dumps({"error_code": "UNAUTHENTICATED", "message": "no such token"}).encode()
        given = {name: values[0] for name, values in parse_qs(url.query).items()}
        given |= json.loads(body) if body else {}
        found = self._call(method, url.path, given)
        if found is None:
            # NOTE: MLflow takes the files API's NOT_FOUND for "this is no folder".
            code = "NOT_FOUND" if "/fs/" in url.path else "RESOURCE_DOES_NOT_EXIST"
            return 404, json.dumps({"error_code": code, "message": "it does not exist"}).encode()
        return 200, json.dumps(found).encode()

    def _call(self, method: str, path: str, given: dict[str, Any]) -> dict[str, Any] | None:
        match method, path:
            case "GET", "/api/2.0/mlflow/unity-catalog/registered-models/alias":
                version = self.aliases.get((given["name"], given["alias"]))
                return None if version is None else self._version(given["name"], str(version))
            case "POST", "/api/2.0/mlflow/unity-catalog/registered-models/alias":
                self.aliases[given["name"], given["alias"]] = int(given["version"])
                return {}
            case "GET", "/api/2.0/mlflow/unity-catalog/registered-models/get":
                found = given["name"] in self.versions
                return {"registered_model": {"name": given["name"]}} if found else None
            case "GET", "/api/2.0/mlflow/unity-catalog/model-versions/get":
                return self._version(given["name"], given["version"])
            case "POST", "/api/2.0/mlflow/unity-catalog/model-versions/generate-temporary-credentials":
                return {"credentials": {"storage_mode": "DEFAULT_STORAGE"}}
            case "POST", "/api/2.0/fs/create-download-url":
                return {"url": f"{self.address}/store{given['path']}?X-Amz-Signature={SIGNATURE}"}
        if path.endswith("artifact-repository-enabled"):
            return {"is_databricks_sdk_models_artifact_repository_enabled": False}
        if path.startswith("/api/2.0/fs/directories/"):
            return self._listing(path.removeprefix("/api/2.0/fs/directories").rstrip("/"))
        return None

    def _version(self, name: str, version: str) -> dict[str, Any] | None:
        if not 0 < int(version) <= len(self.versions.get(name, [])):
            return None
        aliases = [a for (model, a), v in self.aliases.items() if (model, str(v)) == (name, version)]
        return {
            "model_version": {
                "name": name,
                "version": version,
                "source": "dbfs:/elsewhere",
                "status": "MODEL_VERSION_REGISTRATION_READY",
                "aliases": [{"alias": alias, "version": version} for alias in aliases],
            }
        }

    def _file(self, path: str) -> Path:
        catalog, schema, model, version, *rest = path.removeprefix("/Models/").split("/")
        return self.versions[f"{catalog}.{schema}.{model}"][int(version) - 1].joinpath(*rest)

    def _listing(self, path: str) -> dict[str, Any] | None:
        folder = self._file(path)
        if not folder.is_dir():
            return None
        return {
            "contents": [
                {
                    "path": f"{path}/{entry.name}",
                    "is_directory": entry.is_dir(),
                    "file_size": entry.stat().st_size,
                    "name": entry.name,
                }
                for entry in sorted(folder.iterdir())
            ]
        }


@contextmanager
def serving(catalog: UnityCatalog) -> Iterator[UnityCatalog]:
    """Serves a catalog on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = catalog.answer(self.command, self.path, body, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    catalog.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield catalog
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
