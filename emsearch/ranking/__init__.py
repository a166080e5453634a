"""Ranking that knows the noise: pure functions of results."""
