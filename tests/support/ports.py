"""Ports that nobody listens at."""

import socket

__all__ = ["free_port"]


def free_port() -> int:
    """Return a port of this host that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
