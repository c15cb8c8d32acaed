"""Sizes that fit the data, the device and the time, from measured steps and their numbers."""
