"""One trial: a network trained on a dataset by a recipe, from a checkpoint on. Knows no ledger."""
