"""What happens to a batch: rows in; scored rows, quarantined rows and counts out. No file, no engine."""
