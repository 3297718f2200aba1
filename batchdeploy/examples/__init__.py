"""Projects that use the library as anybody would: through its front page."""
