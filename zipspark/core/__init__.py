"""The algorithm: bytes in, rankings out. Pure Python, numpy, zlib and zstandard; never imports pyspark."""

from zipspark.core.direct import select
from zipspark.core.selection import Ranking

__all__ = ["Ranking", "select"]
