"""How redundant a set is, by compressors that no objective uses as it is used here."""

from __future__ import annotations

from collections.abc import Iterable

import zstandard


def wide_ratio(samples: Iterable[bytes]) -> float:
    """R as zstd-19 sees it with a window of 128 MiB and long-distance matching."""
    text = b"".join(samples)
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=27, enable_ldm=True)
    return len(text) / len(zstandard.ZstdCompressor(compression_params=parameters).compress(text))
