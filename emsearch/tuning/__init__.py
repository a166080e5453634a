"""Black-box optimisation of the survivors' recipes; each module hides its library."""
