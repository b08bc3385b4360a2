"""A small causal transformer, trained on what it is given: the learner of learner.py, training.py and law.py.

texts ─ Vocabulary ─▶ tokens ─ batches ─▶ (batch, context + 1) ─ steps ─▶ a loss each; `HeldOut` asks in between

Tokens are byte-level BPE, of one vocabulary for all that is compared; what is predicted is given in bits per byte of
text, so that it would stand beside that of any other vocabulary. (Bytes as tokens would favour no arm at all, but this
learner, on two cores, needed more than twice the time to get where 1,024 tokens got it.) Every epoch puts the texts in
another order, joins them with separators and cuts windows, which do not know where a text began: so does training in
practice. The same seed gives the same model on the same machine with as many threads.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional

Tokens = npt.NDArray[np.uint16]

KINDS = 1024  # tokens there are; few, so that a small model's weights are not all in their names
SEPARATOR = KINDS - 1  # the token before each text, which no text can spell
SAMPLE = 2_000_000  # bytes of text that a vocabulary is made from
POINTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of a run: when the held-out texts are asked


@dataclass(frozen=True)
class Size:
    """What decides how long a run takes."""

    width: int
    layers: int
    context: int  # tokens that are seen before one is predicted, at most
    batch: int  # windows of `context` tokens in a step
    rate: float  # the highest learning rate
    heads: int = 4

    @property
    def step(self) -> int:
        """Tokens learned in a step."""
        return self.batch * self.context


SIZES = {
    "small": Size(width=128, layers=3, context=256, batch=16, rate=6e-3),  # 0.9 M weights: two cores, minutes
    "base": Size(width=192, layers=5, context=256, batch=16, rate=4e-3),  # 2.6 M: two cores, tens of minutes
    "large": Size(width=512, layers=8, context=512, batch=64, rate=2e-3, heads=8),  # 26 M: a GPU
}


class Transformer(nn.Module):
    """Tokens (windows, length) -> logits of the token behind each, (windows, length, kinds).

    Norms before attention and feed-forward, rotary places (Su et al. 2021). Weights start so that every layer keeps the
    variance of what comes in: ten times smaller, or one matrix at both ends, learned far less from as many tokens.
    """

    def __init__(self, kinds: int, size: Size) -> None:
        super().__init__()
        self.names = nn.Embedding(kinds, size.width)
        self.blocks = nn.ModuleList(_Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self.out = nn.Linear(size.width, kinds, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        with torch.no_grad():
            self.out.weight *= 0.2  # at first nothing is likelier than anything else
            for block in self.blocks:  # what is added to the stream starts small, the more layers the smaller
                block.gather.weight /= math.sqrt(2 * size.layers)
                block.down.weight /= math.sqrt(2 * size.layers)
        half = size.width // size.heads // 2
        angles = torch.outer(torch.arange(size.context), 10_000 ** -(torch.arange(half) / half))
        self.register_buffer("cosines", angles.cos(), persistent=False)  # (context, half)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        turn = self.cosines[:length], self.sines[:length]
        stream = self.names(tokens)
        for block in self.blocks:
            stream = block(stream, turn)
        return self.out(self.norm(stream))


class _Block(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.before, self.between = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.ask = nn.Linear(size.width, 3 * size.width, bias=False)
        self.gather = nn.Linear(size.width, size.width, bias=False)
        self.up = nn.Linear(size.width, 4 * size.width, bias=False)
        self.down = nn.Linear(4 * size.width, size.width, bias=False)

    def forward(self, stream: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        # (windows, length, 3 * width) -> three of (windows, heads, length, width / heads)
        parts = self.ask(self.before(stream)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind()
        found = functional.scaled_dot_product_attention(_turned(query, turn), _turned(key, turn), value, is_causal=True)
        stream = stream + self.gather(found.transpose(1, 2).flatten(2))
        return stream + self.down(functional.gelu(self.up(self.between(stream))))


def _turned(heads: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cosines, sines = turn
    left, right = heads.chunk(2, dim=-1)
    return torch.cat([left * cosines - right * sines, left * sines + right * cosines], dim=-1).to(heads.dtype)


# --- text -------------------------------------------------------------------------------------------------------------


class Vocabulary:
    """`KINDS` tokens made from ``texts`` drawn at random, so that it knows no arm; all 256 bytes are among them."""

    def __init__(self, texts: Sequence[bytes], seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(texts))
        ends = np.cumsum([len(texts[at]) for at in order])
        letters = pre_tokenizers.ByteLevel(add_prefix_space=False)  # one letter stands for each byte
        self._bpe = Tokenizer(models.BPE())
        self._bpe.pre_tokenizer = letters
        trainer = trainers.BpeTrainer(vocab_size=SEPARATOR, initial_alphabet=letters.alphabet(), show_progress=False)
        drawn = order[: int(np.searchsorted(ends, SAMPLE)) + 1]
        self._bpe.train_from_iterator((texts[at].decode() for at in drawn), trainer)
        names = [self._bpe.id_to_token(token) or "" for token in range(KINDS)]
        self.lengths = torch.tensor([*map(len, names)])  # (KINDS,) bytes; a separator is none

    def encoded(self, texts: Iterable[bytes]) -> list[Tokens]:
        """Of each text a separator and its tokens."""
        found = self._bpe.encode_batch_fast([text.decode() for text in texts])
        return [np.array([SEPARATOR, *each.ids], np.uint16) for each in found]


def windows(texts: Sequence[Tokens], context: int) -> Tokens:
    """(n, context + 1): ``texts`` one after the other, cut; each starts with the last token of the one before."""
    stream = np.concatenate(texts)
    whole = (len(stream) - 1) // context
    return np.lib.stride_tricks.sliding_window_view(stream, context + 1)[: whole * context : context]


def batches(texts: Sequence[Tokens], size: Size, seed: int) -> Iterator[Tensor]:
    """(batch, context + 1) without end: an epoch is every text once, in an order of its own."""
    chance = np.random.default_rng(seed)
    left = np.empty((0, size.context + 1), np.uint16)
    while True:
        epoch = windows([texts[at] for at in chance.permutation(len(texts))], size.context)
        left = np.concatenate([left, chance.permutation(epoch)])
        for start in range(0, len(left) - size.batch + 1, size.batch):
            yield torch.from_numpy(left[start : start + size.batch].astype(np.int64))
        left = left[len(left) // size.batch * size.batch :]


# --- training ---------------------------------------------------------------------------------------------------------


def new(kinds: int, size: Size, seed: int, device: torch.device | None = None) -> Transformer:
    """An untrained model, the same for the same seed on every device."""
    torch.manual_seed(seed)
    return Transformer(kinds, size).to(device or torch.device("cpu"))


def steps(model: Transformer, batches: Iterable[Tensor], count: int, rate: float) -> Iterator[Tensor]:
    """Takes ``count`` steps of AdamW, the rate up over a twentieth of them and down again; yields each step's loss.

    A loss is the mean over the batch in nats per token, before the step; left on the device, so that no step waits.
    """
    matrices = [weights for weights in model.parameters() if weights.dim() > 1]
    others = [weights for weights in model.parameters() if weights.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
    # A twentieth of 20 steps is one, which torch divides by zero for; a run so short ends before the rate is down.
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(21, count), pct_start=0.05)
    for _, batch in zip(range(count), batches, strict=False):
        model.train()
        loss = nats(model, batch).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        cycle.step()
        yield loss.detach()


def nats(model: Transformer, batch: Tensor) -> Tensor:
    """(windows, context): what each token behind the first costs."""
    device = model.names.weight.device
    batch = batch.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        logits = model(batch[:, :-1])
    return functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten(), reduction="none").view(
        len(batch), -1
    )


class HeldOut:
    """Texts kept apart, by source, as windows; the last of a source is filled with separators."""

    def __init__(self, by_source: Mapping[str, Sequence[bytes]], vocabulary: Vocabulary, size: Size) -> None:
        self.vocabulary = vocabulary
        filling = np.full(size.context, SEPARATOR, np.uint16)
        self._windows = {
            source: torch.from_numpy(windows([*vocabulary.encoded(texts), filling], size.context).astype(np.int64))
            for source, texts in by_source.items()
        }
        self._batch = 4 * size.batch  # nothing is kept for a way back

    def bits_per_byte(self, model: Transformer) -> dict[str, float]:
        """Of each source: the bits that its tokens cost ``model``, over their bytes; separators cost nothing."""
        model.eval()
        found = {}
        with torch.inference_mode():
            for source, every in self._windows.items():
                cost = torch.cat([nats(model, batch) for batch in every.split(self._batch)]).cpu()
                asked = every[:, 1:]
                size = int(self.vocabulary.lengths[asked].sum())
                found[source] = float(cost[asked != SEPARATOR].double().sum()) / size / math.log(2)
        return found


@dataclass(frozen=True)
class Learned:
    """What one run came to."""

    curve: Mapping[int, Mapping[str, float]]  # tokens seen -> source -> held-out bits per byte
    loss: float  # mean over the first epoch (or the run, if that is shorter) in nats per token, each before its step
    epochs: float
    seconds: float  # of learning, without the held-out texts


def learned(
    texts: Sequence[bytes],
    held_out: HeldOut,
    size: Size,
    tokens: int,
    seed: int,
    device: torch.device,
    start: Mapping[str, Any] | None = None,
) -> tuple[Learned, Transformer]:
    """Learns ``tokens`` tokens of ``texts``, over and over; from the weights ``start`` at a third of the rate."""
    model = new(KINDS, size, seed, device)
    rate = size.rate
    curve = {}
    if start is not None:
        model.load_state_dict(start)
        rate /= 3  # a full rate would undo what was learned before
        curve[0] = held_out.bits_per_byte(model)
    read = held_out.vocabulary.encoded(texts)
    count = max(1, tokens // size.step)
    points = {max(1, round(count * point)) for point in POINTS}
    losses = []
    seconds, began = 0.0, time.perf_counter()
    for done, loss in enumerate(steps(model, batches(read, size, seed), count, rate), 1):
        losses.append(loss)
        if done in points:
            loss.item()  # waits for the device
            seconds += time.perf_counter() - began
            curve[done * size.step] = held_out.bits_per_byte(model)
            began = time.perf_counter()
    epoch = sum(map(len, read)) / size.step  # steps
    return Learned(
        curve=curve,
        loss=float(torch.stack(losses[: max(1, round(epoch))]).double().mean()),
        epochs=count / epoch,
        seconds=seconds,
    ), model


def prepared(threads: int | None = None) -> torch.device:
    """The device to train on; sums are added in the same order in every run on it."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it, before it starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # every new tensor would be written twice
    torch.set_num_threads(threads or os.cpu_count() or 1)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
