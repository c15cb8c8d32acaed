"""A trained network as files: its interface, and how it is written, loaded, exported and used for predictions.

How a network is trained is in `training`.
"""
