"""A trained network, physically smaller: which channels go together, how they are cut, what that costs.

Search spaces whose widths were designed to be searched are in `space`.
"""
