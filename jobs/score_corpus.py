"""spark-submit entry point of ``zipspark score``: the same flags, the same result.

spark-submit jobs/score_corpus.py pool.parquet --output out/scores
"""

import sys

from zipspark.cli import main

if __name__ == "__main__":
    main(["score", *sys.argv[1:]])
