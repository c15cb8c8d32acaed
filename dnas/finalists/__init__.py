"""Finalists: candidates for the result of a search, trained briefly in rungs, of which the worse part leaves each time.

What proposes them, how they are trained and judged, and which one is taken. The opponents of a search at equal compute
are in `opponents/`. Nothing here reads a test part.
"""
