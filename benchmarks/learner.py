"""The entropy law with a real learner: six versions of a data set, two of them spoiled, and a transformer reads each.

The data sets are those of `tests/core/entropy_world.py`, whose redundancy and consistency are known: v1 to v4 are good;
of v5 and v6 one is spoiled by repetition (60 % of the rows are copies), one by contradiction (40 % of the statements
are false). The learner is a causal transformer of words, trained from scratch on the CPU for one epoch, from the same
seed and on as many tokens for each version. L is the mean loss of that epoch, Z the probability of the right answer
over all facts; `zipspark entropy check` is told R and L alone. Needs PyTorch: pip install torch.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from zipspark.entropy.law import fit
from zipspark.entropy.measure import measure
from zipspark.entropy.streams import hashed
from zipspark.entropy.versions import Version
from zipspark.entropy.warning import check

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "core"))
from entropy_world import Recipe, World

CONTEXT = 32  # words the transformer sees
GOOD = ((0.05, 1.0), (0.12, 0.98), (0.2, 0.99), (0.25, 0.97))  # redundancy, consistency
SPOILED = {"repetition": (0.6, 1.0), "contradiction": (0.15, 0.6)}


@dataclass(frozen=True)
class Size:
    rows: int  # of a data set; 4 statements of some 6 words each
    width: int
    layers: int
    batch: int  # sequences of `CONTEXT` words


class Transformer(nn.Module):
    """Words before -> logits of the word behind each of them, (sequences, CONTEXT, words)."""

    def __init__(self, words: int, size: Size) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, size.width), nn.Embedding(CONTEXT, size.width)
        layer = nn.TransformerEncoderLayer(
            size.width, 4, 4 * size.width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, size.layers, nn.LayerNorm(size.width), enable_nested_tensor=False)
        self.out = nn.Linear(size.width, words)
        self.register_buffer("later", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        seen = self.words(tokens) + self.places.weight[:length]
        return self.out(self.blocks(seen, mask=self.later[:length, :length], is_causal=True))


def learned(world: World, texts: list[str], size: Size, seed: int) -> tuple[float, float]:
    """(L, Z): mean loss of the one epoch in nats per word, and the mean probability of right answers, 0 to 100."""
    torch.manual_seed(seed)
    words = len(world.vocabulary) + 1
    model = Transformer(words, size)
    tokens = torch.from_numpy(world.tokens(texts))
    usable = (len(tokens) - 1) // CONTEXT * CONTEXT
    asked = tokens[:usable].view(-1, CONTEXT)
    wanted = tokens[1 : usable + 1].view(-1, CONTEXT)
    steps = len(asked) // size.batch
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.05)
    losses = []
    for step in range(steps):
        rows = slice(step * size.batch, (step + 1) * size.batch)
        loss = nn.functional.cross_entropy(model(asked[rows]).flatten(0, 1), wanted[rows].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
        losses.append(loss.item())
    with torch.no_grad():
        exam = torch.from_numpy(world.exam)
        chances = model(exam[:, :-1])[:, -1].softmax(-1).gather(1, exam[:, -1:])
    return float(np.mean(losses)), float(100 * chances.mean())


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True)
@click.option("--rows", default=12_000, show_default=True, help="of each version")
@click.option("--width", default=64, show_default=True)
@click.option("--layers", default=2, show_default=True)
def main(seeds: int, rows: int, width: int, layers: int) -> None:
    out = Console()
    size = Size(rows, width, layers, batch=8)
    exact, alarms, started = 0, 0, time.perf_counter()
    for seed in range(seeds):
        world = World(seed)
        order = sorted(SPOILED, reverse=bool(seed % 2))
        versions: list[Version] = []
        table = Table(title=f"seed {seed}", title_justify="left")
        for name in ("version", "copies", "true", "R, zstd", "L, nats", "Z", "check", "rule"):
            table.add_column(name, justify="left" if name in ("version", "check", "rule") else "right")
        flagged = []
        for number, made in enumerate([*GOOD, *(SPOILED[name] for name in order)], 1):
            texts = world.texts(Recipe(*made, rows=rows), 100 * seed + number)
            loss, score = learned(world, texts, size, seed)
            ratio = measure(hashed(texts), most_groups=0).of("zstd").ratio
            versions.append(Version(f"v{number}", ratio=ratio, codec="zstd", loss=loss, score=score))
            verdict = check(versions)
            rules = ", ".join(finding.rule for finding in verdict.findings)
            flagged += [number] * (verdict.level != "ok")
            cells = [f"{made[0]:.0%}", f"{made[1]:.0%}", f"{ratio:.3f}", f"{loss:.4f}", f"{score:.1f}"]
            table.add_row(f"v{number}", *cells, verdict.level if verdict.judged else "too early", rules)
        out.print(table)
        out.print(str(fit(versions)))
        exact += flagged == [5, 6]
        alarms += len(set(flagged) - {5, 6})
    out.print(f"flagged exactly the spoiled ones: {exact} of {seeds}; false alarms: {alarms} of {seeds} (v4)")
    out.print(f"{(time.perf_counter() - started) / seeds:.0f} s a seed, torch {torch.__version__}")


if __name__ == "__main__":
    main()
