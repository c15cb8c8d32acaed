"""The command line: one line of text becomes settings and a call into `jobs`, `compare` or `language`.

The only room that knows jsonargparse: one file for each command, which `commands.py` lists. What a command does with a
run folder is not here.
"""

from dnas.cli.main import main

__all__ = ["main"]
