"""Kernels of a cell's node for the CPU, compiled by numba: the separable convolutions of an edge, the sum of a node."""
