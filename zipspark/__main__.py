"""``python -m zipspark``."""

from zipspark.cli import main

main()
