"""Storage: files, objects, locks, failpoints, and the records of a run."""
