"""Language models: search for a recurrent cell on a text, train it, measure its perplexity, make up text.

The space of recurrent cells itself is in `space`.
"""

from dnas.language.sample import continued, load_language
from dnas.language.training import (
    LanguageSearch,
    LanguageTraining,
    perplexity,
    search_language,
    train_language,
    whole_text,
)

__all__ = [
    "LanguageSearch",
    "LanguageTraining",
    "continued",
    "load_language",
    "perplexity",
    "search_language",
    "train_language",
    "whole_text",
]
