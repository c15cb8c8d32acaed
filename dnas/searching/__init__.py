"""The search itself: supernet, one step, the loop over epochs, what watches it, what it hands on.

The parts that make a method (relaxations, hypergradients ...) are in `method`.
"""
