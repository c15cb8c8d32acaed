"""Language models: search for a recurrent cell on a text, train it, measure its perplexity, generate text.

The space of recurrent cells itself is in `space`.
"""

from dnas.language.evaluation import perplexity, whole_text
from dnas.language.sample import continued, load_language
from dnas.language.search import search_language
from dnas.language.settings import LanguageSearch, LanguageTraining
from dnas.language.training import train_language

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
