"""What the commands do with a run folder: search, retrain, judge, shrink.

`planning` chooses sizes that fit, `profile` shows where the time goes. Nothing here parses a command line, and nothing
here knows how a step is computed.
"""
