"""The interface of an exporter: the network that it is given, and the files that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dnas.shipping.batch_dims import Dims

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Forward = Callable[[Any], Any]  # from inputs, as in `dnas.Batch`, to outputs: a tensor, or tuples and dicts of them
Files = Mapping[str, bytes]  # file name -> contents, in the order in which they are written


@dataclass(frozen=True)
class Subject:
    """The network that is exported.

    Args:
        network: on the CPU and in evaluation mode, without auxiliary head.
        example: inputs as in `dnas.Batch`, of two samples.
        metadata: entries of an exported program, as text.
        save: writes the weights and what belongs to them into a folder.
        load: makes the network from such a folder.
        input_names: names of an exported program's inputs; None for the names that the network's `forward` gives them.
        output_names: likewise, in order; None for names by the structure of the outputs.
        dims: the batch's dimension of each tensor of the example.
    """

    network: nn.Module
    example: Any
    metadata: Mapping[str, str]
    save: Callable[[Path], None]
    load: Callable[[Path], nn.Module]
    input_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] | None = None
    dims: Dims = (0,)

    @cached_property
    def program(self) -> ExportedProgram:
        """The network as a traced program for any batch size, traced once for all formats.

        Raises:
            UserError: the network does something that torch.export cannot express.
        """
        from dnas.shipping.exporters.trace import trace

        return trace(self.network, self.example, self.dims)


@dataclass(frozen=True)
class Exporter:
    """One format.

    Args:
        format: its name for `export` and the command line.
        file: name of the file that holds the network.
        check_installed: raises MissingPackage if the format needs a package that is not installed.
        convert: makes the files; raises UserError if the format cannot express the network.
        run: the network in these files as a function, to check them; outputs may come as a tuple of their tensors.
    """

    format: str
    file: str
    check_installed: Callable[[], None]
    convert: Callable[[Subject], Files]
    run: Callable[[Files, Subject], Forward]


def needs_nothing() -> None:
    """The format needs no package but torch."""
