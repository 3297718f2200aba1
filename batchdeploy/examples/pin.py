"""Writes the version that a deployment's model ref resolves to now; an up-to-date file is not rewritten."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from batchdeploy.assembly import open_toolbox


def main() -> None:
    """``python -m batchdeploy.examples.pin DEPLOYMENT FILE``."""
    deployment, file = sys.argv[1], Path(sys.argv[2])
    tools = open_toolbox(deployment)
    pin = tools.registry.resolve(tools.deployment.model)
    text = json.dumps({"name": pin.name, "version": pin.version, "digest": pin.digest}, indent=1) + "\n"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(file)
    print(f"{pin.name} is version {pin.version}")


if __name__ == "__main__":
    main()
