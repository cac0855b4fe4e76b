"""Make `fashion_mnist.parquet`: train what `fashion_mnist.toml` draws, and write the study as a table.

    python experiments/recorded/make_recording.py

About an hour of one core. A recording that was interrupted goes on where it was when the command is given again.
"""

import argparse
import sys
from pathlib import Path

from search.cli import run

HERE = Path(__file__).parent
NAME = "fashion_mnist"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where the study is kept meanwhile")
    parser.add_argument("--output", type=Path, default=HERE / f"{NAME}.parquet")
    arguments = parser.parse_args()
    study = ["--runs-dir", str(arguments.runs_dir)]
    code = run(["launch", str(HERE / f"{NAME}.toml"), *study])
    return code or run(["record", NAME, "--output", str(arguments.output), *study])


if __name__ == "__main__":
    sys.exit(main())
