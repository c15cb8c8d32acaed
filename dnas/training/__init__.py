"""Training and judging plain networks: retraining, evaluation, random architectures beside, statistics.

Nothing here knows of alphas.
"""
