"""Tokens of a text, as the tokenizer of the model that will be trained counts them (issue 4, item 3)."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zipspark.errors import InputError
from zipspark.extras import needs

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Bytes of text encoded at a time: what the library returns for a text (each token's text, offsets, masks) takes over a
# hundred times the text's own memory (measured), until the next batch.
_BATCH = 2**18


class TokenCounter:
    """Counts tokens with a ``tokenizer.json`` of the tokenizers library, which is imported only here.

    What surrounds a sample in training is not counted: no special tokens are added, and the truncation and padding that
    the file may ask for are off. Pickles as the text of the file: a task needs the library, not the file.

    >>> vocabulary = '{"type": "WordLevel", "vocab": {"to": 0, "be": 1, "?": 2}, "unk_token": "?"}'
    >>> counter = TokenCounter('{"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": %s}' % vocabulary)
    >>> counter.count([b"to be or not to be", b""])
    array([6, 0])
    """

    def __init__(self, json: str, name: str = "the text given") -> None:
        """``json`` is what the file holds, ``name`` what a message calls it.

        Raises:
            UsageError: the tokenizers library is not installed.
            InputError: ``json`` is no tokenizer.
        """
        self.json = json
        self._tokenizer = _loaded(json, name)

    @classmethod
    def read(cls, path: str | Path) -> TokenCounter:
        """The counter of a ``tokenizer.json``, or of the one in a folder; `InputError` also where none can be read."""
        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            return cls(file.read_text(encoding="utf-8"), str(file))
        except OSError as error:
            raise InputError(f"tokenizer {str(file)!r} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:  # such as the tokenizer.model of sentencepiece
            raise InputError(f"tokenizer must be a tokenizer.json, got {str(file)!r}, which is not text") from None

    def count(self, texts: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """(n,) tokens of each text; bytes that are no UTF-8 count as the tokens of U+FFFD.

        Raises:
            InputError: the tokenizer knows neither a word of a text nor a token for unknown words.
        """
        encode = getattr(self._tokenizer, "encode_batch_fast", self._tokenizer.encode_batch)  # fast: since 0.20
        counts: list[int] = []
        for batch in _batches(texts):
            try:
                encodings = encode([text.decode(errors="replace") for text in batch], add_special_tokens=False)
            except Exception as error:  # the library raises nothing narrower
                raise InputError(f"tokenizer must be able to encode every sample, got {error}") from None
            counts += map(len, encodings)
        return np.array(counts, dtype=np.int64)

    def __reduce__(self) -> tuple[object, ...]:
        # Compressed, for a vocabulary of 250,000 tokens is 30 MB of JSON and travels in the closure of a task.
        return _in_task, (zlib.compress(self.json.encode(), 1),)


def _in_task(packed: bytes) -> TokenCounter:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a task has one core; the others run other tasks
    return TokenCounter(zlib.decompress(packed).decode())


@lru_cache(maxsize=2)  # a worker runs many tasks, and loading takes up to a second
def _loaded(json: str, name: str) -> Tokenizer:
    with needs("tokenizer needs the tokenizers library, which is not installed", "tokens"):
        from tokenizers import Tokenizer
    try:
        tokenizer = Tokenizer.from_str(json)
    except Exception as error:  # the library raises nothing narrower
        raise InputError(
            f"tokenizer must be a tokenizer.json of the tokenizers library, got {name!r}: {error}"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _batches(texts: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Runs of ``texts`` of about `_BATCH` bytes, at least one text each."""
    start = size = 0
    for position, text in enumerate(texts):
        if size and size + len(text) > _BATCH:
            yield texts[start:position]
            start, size = position, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]
