"""Data sources: a local folder, or a DVC revision."""
