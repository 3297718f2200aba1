"""Where rows come from: a folder, or a DVC revision."""
