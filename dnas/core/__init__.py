"""The vocabulary: batch, mixture, decision, choice, architecture, derive, schedule, progress, run folder.

Nothing here searches or trains.
"""
