"""The algorithm: bytes in, rankings out. Pure Python, numpy, zlib and zstandard; never imports pyspark."""

from zipspark.core.selection import Ranking, select

__all__ = ["Ranking", "select"]
