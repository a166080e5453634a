"""What can be built: module trees, spaces, sampling, arithmetic, drawing. Standard library only."""
