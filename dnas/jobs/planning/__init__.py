"""Sizes that fit the data, the device and the time: measured steps, and how often each is taken."""
