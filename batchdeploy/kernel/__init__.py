"""Scores batches: rows in; scored rows, quarantined rows and counts out. No file, no engine."""
