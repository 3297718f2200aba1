"""This machine and process: installed packages, versions, sessions, captured output, project root."""
