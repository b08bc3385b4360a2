"""spark-submit entry point of ``zipspark select``: the same flags, the same result.

spark-submit jobs/select_subset.py --config conf/select.yml pool.parquet --output out/chosen --budget 5%
"""

import sys

from zipspark.cli import main

if __name__ == "__main__":
    main(["select", *sys.argv[1:]])
