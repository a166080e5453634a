"""A network over a volume of any size."""
