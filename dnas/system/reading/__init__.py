"""The boundary: every file that is not the user's own code is read through here (SECURITY.md).

It reads only regular files and known formats, checks sizes before it allocates anything, and turns whatever a library
raises into one line that names the file. `tests/test_boundary.py` refuses other ways to read a file.
"""

from dnas.system.reading.files import open_file, read_bytes, read_text
from dnas.system.reading.json_data import parse_json, read_json
from dnas.system.reading.refusal import in_one_line, refusing, shortened
from dnas.system.reading.tensors import read_tensors
from dnas.system.reading.yaml_data import parse_yaml, read_yaml

__all__ = [
    "in_one_line",
    "open_file",
    "parse_json",
    "parse_yaml",
    "read_bytes",
    "read_json",
    "read_tensors",
    "read_text",
    "read_yaml",
    "refusing",
    "shortened",
]
