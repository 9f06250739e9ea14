"""Tables that the built-in molecules need, and the scripts that made them."""
