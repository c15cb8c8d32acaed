"""The machine below: files written whole, display, Ctrl-C, random state, threads, memory.

Nothing here knows of architectures.
"""
