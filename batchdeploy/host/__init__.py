"""This machine and process: installed packages, versions, process sessions, captured output, project root."""
