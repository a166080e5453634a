"""The facts that pass between parts: frozen records, without torch."""
