"""A trained network, physically smaller: which channels go together, how they are cut, what that costs."""
