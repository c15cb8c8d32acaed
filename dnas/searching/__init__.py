"""The search itself: supernet, single step, loop over epochs, observers, and what is handed from stage to stage.

The parts that make a method (relaxations, hypergradients ...) are in `method`.
"""
