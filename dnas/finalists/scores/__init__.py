"""Scores of networks without training, one file each."""
