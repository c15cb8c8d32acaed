"""The address that docs once gave for `dnas.language.load_language`; kept for code that was written by them."""

from dnas.language.sample import continued, load_language

__all__ = ["continued", "load_language"]
