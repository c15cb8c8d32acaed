"""The parts of a method, one folder for each kind and one file for each part; the kinds never import each other.

How the parts are put together to a search is in `searching`.
"""
