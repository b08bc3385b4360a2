"""Tokens are counted by a tokenizer.json: here tiny ones, trained on the spot."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from zipspark.core import tokens
from zipspark.core.tokens import TokenCounter
from zipspark.errors import InputError, UsageError

tokenizers = pytest.importorskip("tokenizers")

SENTENCES = ["to be or not to be", "that is the question", "whether 'tis nobler in the mind to suffer", "é ü 漢字"]


@pytest.fixture(scope="module")
def tokenizer():
    """A byte-level BPE that adds special tokens, truncates and pads, as files of real models do."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(pad_token="<pad>", pad_id=1, length=4)
    return tokenizer


@pytest.fixture(scope="module")
def file(tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def one_by_one(tokenizer, texts):
    bare = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    bare.no_truncation()
    bare.no_padding()
    return [len(bare.encode(text, add_special_tokens=False).ids) for text in texts]


def test_tokens_of_a_text_alone_are_counted_whatever_the_file_adds_cuts_or_pads(tokenizer, file):
    texts = [*SENTENCES, "", "unseen words 🙂", "to be or not to be " * 50]
    counts = TokenCounter.read(file).count([text.encode() for text in texts])
    assert counts.dtype == np.int64
    assert counts.tolist() == one_by_one(tokenizer, texts)
    assert counts[4] == 0
    assert len(tokenizer.encode(SENTENCES[2])) == 4 < counts[2]


def test_a_folder_of_a_model_a_path_or_the_text_of_the_file_will_do(file):
    counters = [TokenCounter.read(file.parent), TokenCounter.read(str(file)), TokenCounter(file.read_text("utf-8"))]
    assert [counter.count([b"to be"]).tolist() for counter in counters] == [[2]] * 3


def test_bytes_that_are_no_utf8_count_as_replaced(tokenizer, file):
    assert TokenCounter.read(file).count([b"to \xff be", b"\xe6\xbc"]).tolist() == one_by_one(
        tokenizer, ["to \ufffd be", "\ufffd"]
    )


def test_no_texts_have_no_counts(file):
    counts = TokenCounter.read(file).count([])
    assert (counts.dtype, counts.shape) == (np.int64, (0,))


def test_how_texts_are_batched_changes_nothing(tokenizer, file, monkeypatch):
    texts = [SENTENCES[number % 4] * (number % 7) for number in range(200)]
    expected = one_by_one(tokenizer, texts)
    for size in (1, 50, 1000, 10**9):
        monkeypatch.setattr(tokens, "_BATCH", size)
        batches = list(tokens._batches([text.encode() for text in texts]))
        assert b"".join(text for batch in batches for text in batch).decode() == "".join(texts)
        assert all(batches)
        assert TokenCounter.read(file).count([text.encode() for text in texts]).tolist() == expected


def test_older_versions_of_the_library_count_as_well(file, monkeypatch):
    class Older:  # encode_batch_fast came with 0.20
        def __init__(self, tokenizer):
            self.encode_batch = tokenizer.encode_batch

    counter = TokenCounter.read(file)
    expected = counter.count([b"to be or not"]).tolist()
    monkeypatch.setattr(counter, "_tokenizer", Older(counter._tokenizer))
    assert counter.count([b"to be or not"]).tolist() == expected


def test_a_counter_travels_to_another_process_as_text_and_uses_one_core_there(file, tmp_path):
    counter = TokenCounter.read(file)
    pickled = tmp_path / "counter.pickle"
    pickled.write_bytes(pickle.dumps(counter))
    assert pickled.stat().st_size < len(counter.json)
    script = (
        "import os, pickle, sys; counter = pickle.load(open(sys.argv[1], 'rb')); "
        "print(os.environ['TOKENIZERS_PARALLELISM'], *counter.count([b'to be', b'that is the question']))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(pickled)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["false", *map(str, counter.count([b"to be", b"that is the question"]))]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "EOF while parsing"),
        (b"to be or not to be", "expected"),
        (b"{}", "Model missing"),
        (b'{"model": {"type": "unheard of"}}', "ModelUntagged"),
        (b"\x0a\xff\xfe model", "which is not text"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_named_with_the_reason(content, why, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^tokenizer must be a tokenizer\.json.*, got '{path}'.*{why}"):
        TokenCounter.read(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=rf"^tokenizer '{tmp_path}/absent\.json' cannot be read: No such file"):
        TokenCounter.read(tmp_path / "absent.json")
    with pytest.raises(InputError, match=rf"^tokenizer '{tmp_path}/tokenizer\.json' cannot be read: No such file"):
        TokenCounter.read(tmp_path)


def test_a_vocabulary_without_a_token_for_unknown_words_is_told_when_it_meets_one():
    model = {"type": "WordLevel", "vocab": {"to": 0}, "unk_token": "?"}
    counter = TokenCounter(json.dumps({"version": "1.0", "model": model}))
    assert counter.count([b"to"]).tolist() == [1]
    with pytest.raises(InputError, match=r"^tokenizer must be able to encode every sample, got .*UNK"):
        counter.count([b"be"])


def test_without_the_library_the_message_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    tokens._loaded.cache_clear()
    with pytest.raises(UsageError, match=r"^tokenizer needs the tokenizers library.*pip install 'zipspark\[tokens\]'$"):
        TokenCounter.read(file)
