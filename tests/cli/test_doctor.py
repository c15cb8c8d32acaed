"""`dnas doctor` as a command."""

import re

import torch

from tests.support.cli import dnas, done, refused


def test_it_prints_the_versions_that_are_there():
    assert re.search(rf"torch +{re.escape(torch.__version__)}", done("doctor"))


def test_it_explains_itself():
    assert done("doctor", "--help").startswith("usage: dnas doctor\n")


def test_it_takes_no_options():
    assert refused("doctor", "--fast") == "dnas doctor takes no options; got '--fast'."


def test_it_is_what_the_overview_lists():
    assert "doctor" in dnas("--help").out
