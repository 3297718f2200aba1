"""``python -m batchdeploy``."""

from batchdeploy.cli import main

if __name__ == "__main__":
    main()
