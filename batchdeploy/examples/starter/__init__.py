"""The project that `batchdeploy init` writes."""
