"""Lets the tests of this folder import what they share with each other and with their neighbours."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]
