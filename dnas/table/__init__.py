"""Benchmark tables: what every architecture of a space reaches, looked up instead of trained.

How a table is used in a comparison of recipes is in `compare`.
"""

from dnas.table.agreement import kendall_tau, rank_agreement
from dnas.table.convert import convert, from_arrays
from dnas.table.file import load_table, save_table
from dnas.table.natsbench import from_nats_bench, query_nats_bench
from dnas.table.order import official_operations, official_strings
from dnas.table.standing import standing, standing_data
from dnas.table.supernet_agreement import RankAgreement
from dnas.table.table import Entry, Summary, Table

__all__ = [
    "Entry",
    "RankAgreement",
    "Summary",
    "Table",
    "convert",
    "from_arrays",
    "from_nats_bench",
    "kendall_tau",
    "load_table",
    "official_operations",
    "official_strings",
    "query_nats_bench",
    "rank_agreement",
    "save_table",
    "standing",
    "standing_data",
]
