"""Access to the machine: files written whole, display, Ctrl-C, random state, threads, memory, words for people.

Nothing here depends on architectures.
"""
