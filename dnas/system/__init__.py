"""The machine below: files written whole, display, Ctrl-C, random state, threads, memory, words for people.

Nothing here knows of architectures.
"""
