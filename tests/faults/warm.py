"""Searches once when it is imported, so that whatever is forked afterwards has everything imported already."""

import os
import tempfile
from pathlib import Path

import faulty_search

with tempfile.TemporaryDirectory() as folder:
    before = Path.cwd()
    faulty_search.launcher.run_on_ray = faulty_search.run_here
    faulty_search.run_session(faulty_search.Order(folder=folder, epoch_s=0.0))
    os.chdir(before)
