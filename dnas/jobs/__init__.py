"""What the commands do with a run folder: search, retrain, judge, ship; and the sizes that they choose (`planning`).

Nothing here parses a command line, and nothing here knows how a step is computed.
"""
