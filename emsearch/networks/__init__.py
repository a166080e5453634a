"""Networks: the torch modules that module trees describe."""
