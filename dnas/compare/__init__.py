"""Recipes against each other, over seeds: the grid of runs, one row each, the table.

How a single search or training is carried out is in `jobs`.
"""
