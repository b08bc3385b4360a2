"""The entropy law with a real learner: six versions of a data set, two of them spoiled, and a transformer reads each.

The data sets are those of `tests/core/entropy_world.py`, whose redundancy and consistency are known: v1 to v4 are good;
of v5 and v6 one is spoiled by repetition (60 % of the rows are copies), one by contradiction (40 % of the statements
are false). The learner is a causal transformer of words (transformer.py), trained from scratch on the CPU for one
epoch, from the same seed and on as many tokens for each version. L is the mean loss of that epoch, Z the probability of
the right answer over all facts; `zipspark entropy check` is told R and L alone. Needs PyTorch: pip install torch.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import needs_torch  # noqa: F401
import torch
from results import Results, option
from transformer import Size, new, prepared, steps, windows

from zipspark.entropy.law import fit
from zipspark.entropy.measure import measure
from zipspark.entropy.streams import hashed
from zipspark.entropy.versions import Version
from zipspark.entropy.warning import check

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "core"))
from entropy_world import Recipe, World

GOOD = ((0.05, 1.0), (0.12, 0.98), (0.2, 0.99), (0.25, 0.97))  # redundancy, consistency
SPOILED = {"repetition": (0.6, 1.0), "contradiction": (0.15, 0.6)}


def learned(world: World, texts: list[str], size: Size, seed: int) -> tuple[float, float]:
    """(L, Z): mean loss of the one epoch in nats per word, and the mean probability of right answers, 0 to 100."""
    model = new(len(world.vocabulary) + 1, size, seed)
    read = torch.from_numpy(windows([world.tokens(texts)], size.context).copy())  # in the order they were written
    batches = read.split(size.batch)
    count = len(read) // size.batch
    loss = torch.stack(list(steps(model, batches, count, size.rate))).double().mean()
    with torch.inference_mode():
        exam = torch.from_numpy(world.exam)
        chances = model(exam[:, :-1])[:, -1].softmax(-1).gather(1, exam[:, -1:])
    return float(loss), float(100 * chances.mean())


@click.command(help=__doc__)
@click.option("--seeds", default=3, show_default=True)
@click.option("--rows", default=12_000, show_default=True, help="of each version; 4 statements of some 6 words each")
@click.option("--width", default=64, show_default=True)
@click.option("--layers", default=2, show_default=True)
@click.option("--threads", type=int, help="of the processor  [default: all cores]")
@option
def main(seeds: int, rows: int, width: int, layers: int, threads: int | None, results: Path) -> None:
    prepared(threads)
    size = Size(width, layers, context=32, batch=8, rate=3e-3)
    exact, alarms, started = 0, 0, time.perf_counter()
    with Results("learner", Path("world"), results, ("torch",)) as out:
        for seed in range(seeds):
            world = World(seed)
            order = sorted(SPOILED, reverse=bool(seed % 2))
            versions: list[Version] = []
            cells = []
            flagged = []
            for number, made in enumerate([*GOOD, *(SPOILED[name] for name in order)], 1):
                texts = world.texts(Recipe(*made, rows=rows), 100 * seed + number)
                loss, score = learned(world, texts, size, seed)
                ratio = measure(hashed(texts), most_groups=0).of("zstd").ratio
                versions.append(Version(f"v{number}", ratio=ratio, codec="zstd", loss=loss, score=score))
                verdict = check(versions)
                rules = ", ".join(finding.rule for finding in verdict.findings)
                flagged += [number] * (verdict.level != "ok")
                said = verdict.level if verdict.judged else "too early"
                figures = [f"{made[0]:.0%}", f"{made[1]:.0%}", f"{ratio:.3f}", f"{loss:.4f}", f"{score:.1f}"]
                cells.append([f"v{number}", *figures, said, rules])
            out.table(f"seed {seed}", ("version", "copies", "true", "R, zstd", "L, nats", "Z", "check", "rule"), cells)
            for line in str(fit(versions)).splitlines():
                out.say(line)
            exact += flagged == [5, 6]
            alarms += len(set(flagged) - {5, 6})
        out.say(f"Flagged exactly the spoiled ones: {exact} of {seeds}; false alarms: {alarms} of {seeds} (v4).")
        out.say(f"{(time.perf_counter() - started) / seeds:.0f} s a seed.")


if __name__ == "__main__":
    main()
