"""EM volumes: reading, checking, importing, sampling and augmenting them."""
