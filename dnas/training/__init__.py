"""Training and evaluating plain networks: retraining, evaluation, comparison with random architectures, statistics.

Nothing here involves alphas.
"""
