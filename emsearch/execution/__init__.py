"""Where jobs run: each executor hides its cluster."""
