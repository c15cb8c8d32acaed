"""What mkdocstrings must be told of our docstrings: `Example:` holds a session of Python, not a text."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object


class Sessions(Extension):
    """Calls the section `Examples:`, which griffe reads as code that was typed in."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rename the section in the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
