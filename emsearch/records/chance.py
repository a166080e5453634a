"""Seeds. Everything random in a study comes from the study's seed, through here."""

import hashlib

__all__ = ["seed_of"]


def seed_of(*parts: int | str) -> int:
    """Return a seed below 2**63 that depends on all of `parts` alone, on every machine."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
