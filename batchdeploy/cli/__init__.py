"""The command line: `batchdeploy COMMAND`."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr

from batchdeploy.core.system_errors import translate_system_errors
from batchdeploy.errors import BatchdeployError, GateRefused, OutsideError, Problem
from batchdeploy.redaction import RedactedStream

WANTS_JSON = {"--json", "--request"}


def main() -> None:
    """Runs a command; exits with 0, 1 (refused), 2 (wrong request) or 3 (failed outside)."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    from batchdeploy.cli import maintenance, models, runs  # noqa: F401
    from batchdeploy.cli.answers import answer, reserve_stdout
    from batchdeploy.cli.commands import app
    from batchdeploy.workflows.stopping import stop_on_sigterm

    stop_on_sigterm()
    _show_any_character()
    wants_json = bool(WANTS_JSON & set(sys.argv[1:]))
    if wants_json:
        reserve_stdout()
    with redirect_stderr(RedactedStream(sys.stderr)):
        _run(app, answer if wants_json else None)


def _run(app: Callable[[], None], answer: Callable[[str], None] | None) -> None:
    try:
        with translate_system_errors("the command"):
            app()
    except SystemExit as end:
        # NOTE: typer exits with 1 for a closed pipe (`| head`), which would mean a refusal here.
        if end.code == 1 and type(sys.stdout).__name__ == "PacifyFlushWrapper":
            sys.exit(OutsideError.exit_code)
        raise
    except BatchdeployError as error:
        if answer:
            answer(json.dumps({"error": _plain(error)}, indent=1))
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001
        # NOTE: an unexpected error must not exit with 1, which means "refused".
        sys.stderr.write(traceback.format_exc())
        wrapped = OutsideError(
            "batchdeploy itself", (Problem(type(error).__name__, "not foreseen", str(error)),)
        )
        if answer:
            answer(json.dumps({"error": _plain(wrapped)}, indent=1))
        print(wrapped, file=sys.stderr)
        sys.exit(wrapped.exit_code)


def _show_any_character() -> None:
    """Escapes characters that the terminal cannot show, which would otherwise fail a finished command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _plain(error: BatchdeployError) -> dict[str, object]:
    return {
        "kind": type(error).__name__,
        "where": error.where,
        "problems": [problem._asdict() for problem in error.problems],
        "hint": error.hint,
        "exit_code": error.exit_code,
        **(_evidence(error) if isinstance(error, GateRefused) else {}),
    }


def _evidence(refusal: GateRefused) -> dict[str, object]:
    return {"folder": refusal.folder, "run_id": refusal.run_id, "report": refusal.report}
