"""The option --network: which trained network of a run a command takes."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace


def add_network(parser: ArgumentParser) -> None:
    """The option."""
    parser.add_argument(
        "--network",
        type=str | None,
        default=None,
        help="found, best, or a name of the comparison, such as 'random 3' or that of an opponent; by default, after "
        "`dnas baseline`, the best by held-out samples of the found one, the random ones and those of opponents",
    )


def network_of(config: Namespace) -> tuple[Path, str]:
    """Folder of the chosen network, and a sentence on it; empty where there was nothing to choose."""
    from dnas.jobs.chosen_network import chosen_network

    return chosen_network(config.run, config.network)
