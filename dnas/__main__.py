"""`python -m dnas` is the command `dnas`."""

from dnas.cli.parser import main

main()
