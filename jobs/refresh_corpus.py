"""spark-submit entry point of ``zipspark refresh``: the same flags, the same result.

spark-submit jobs/refresh_corpus.py --config conf/refresh.yml --corpus main.chats --subset main.chosen \\
    --id-column id --budget 5%
"""

import sys

from zipspark.cli import main

if __name__ == "__main__":
    main(["refresh", *sys.argv[1:]])
