"""The interface of an exporter: the network that it is given, and the files that it makes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor, nn

from dnas.shipping.spec import NetworkSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Forward = Callable[[Tensor], Tensor]
Files = Mapping[str, bytes]  # file name -> contents, in the order in which they are written


@dataclass(frozen=True)
class Subject:
    """The network that is exported.

    Args:
        network: the loaded network in evaluation mode, without auxiliary head.
        spec: its specification.
        model: the user's searchable module that the network was derived from; None for a network of a space.
    """

    network: nn.Module
    spec: NetworkSpec
    model: nn.Module | None

    @cached_property
    def program(self) -> ExportedProgram:
        """The network as a traced program for any batch size, traced once for all formats.

        Raises:
            UserError: the network does something that torch.export cannot express.
        """
        from dnas.shipping.exporters.trace import trace

        return trace(self.network, self.spec.interface)

    def metadata(self) -> dict[str, str]:
        """Entries of an exported file: the interface's and the architecture as JSON, and dnas's version."""
        interface = {
            name: json.dumps(value, ensure_ascii=False) for name, value in self.spec.interface.to_data().items()
        }
        return {**interface, "architecture": self.spec.architecture.to_json(), "dnas_version": self.spec.version}


@dataclass(frozen=True)
class Exporter:
    """One format.

    Args:
        format: its name for `export` and the command line.
        file: name of the file that holds the network.
        check_installed: raises MissingPackage if the format needs a package that is not installed.
        convert: makes the files; raises UserError if the format cannot express the network.
        run: the network in these files as a function from images to logits, to check them.
    """

    format: str
    file: str
    check_installed: Callable[[], None]
    convert: Callable[[Subject], Files]
    run: Callable[[Files, Subject], Forward]


def needs_nothing() -> None:
    """The format needs no package but torch."""
