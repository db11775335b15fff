"""Runs engines on a tiny network in a process of its own and stores what they did: ``engine_case.py BACKEND OUT``."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from doubles import TINY

from rvrt_cli.model.config import ModelConfig
from rvrt_cli.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rvrt_cli.train.create_engine import create_engine
from rvrt_cli.train.engine import RankInfo
from rvrt_cli.train.recipe import Recipe, Stage

CONFIG = replace(TINY, passes=2)
RECIPE = Recipe(stages=(Stage(10, 2, 4, 32),), lr=1e-3, warmup=2, ema=0.9, clip_grad=0.02)
GUIDED = replace(
    ModelConfig(), embed_dim=12, num_blocks=(1, 1, 1), depth=1, num_heads=2, passes=2, align_heads=2,
    deformable_groups=2, window=(2, 4, 4),
)  # fmt: skip


def batch(step: int, count: int = 2, frames: int = 4, lq_px: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(step)
    lq = rng.integers(0, 256, (count, frames, lq_px, lq_px, 3), dtype=np.uint8)
    return lq, rng.integers(0, 256, (count, frames, 4 * lq_px, 4 * lq_px, 3), dtype=np.uint8)


def train(engine: Any, recipe: Recipe, first: int = 0, stop: int = 10) -> list[dict[str, Any]]:
    return [
        asdict(engine.step(*batch(step), recipe.lr_at(step), 0.0, step == 9)) for step in range(first, stop)
    ]


def ten_steps(backend: str, out: Path) -> None:
    engine = create_engine(backend, CONFIG, RECIPE, None, "cpu", 1, RankInfo())
    steps = train(engine, RECIPE)
    save_checkpoint(out / f"{backend}.safetensors", Checkpoint(10, CONFIG, RECIPE, engine.state()))
    np.save(out / f"{backend}.npy", engine.predict(batch(0)[0][0].astype(np.float32) / 255))
    (out / f"{backend}.json").write_text(json.dumps(steps))


def resume(backend: str, out: Path, checkpoint: str) -> None:
    """Five more steps from a checkpoint that either engine wrote."""
    engine = create_engine(backend, CONFIG, RECIPE, None, "cpu", 1, RankInfo())
    engine.load_state(load_checkpoint(out / checkpoint).state)
    train(engine, RECIPE, 10, 15)
    save_checkpoint(out / f"{backend}-resumed.safetensors", Checkpoint(15, CONFIG, RECIPE, engine.state()))


def torch_variants(out: Path) -> None:
    """Precisions, accumulation, recomputation, resuming, frozen flow: each beside the plain run."""

    def state(recipe: Recipe) -> dict[str, np.ndarray]:
        engine = create_engine("torch", CONFIG, recipe, None, "cpu", 1, RankInfo())
        results = train(engine, recipe, stop=5)
        variants[name_of(recipe)] = {
            "loss": [r["loss"] for r in results],
            "finite": [r["finite"] for r in results],
        }
        return engine.state().weights

    def name_of(recipe: Recipe) -> str:
        return f"{recipe.precision}-{recipe.accumulate}-{recipe.recompute}"

    variants: dict[str, Any] = {}
    plain = state(RECIPE)
    for change in ({"accumulate": 2}, {"recompute": True}, {"precision": "bf16"}, {"precision": "fp16"}):
        recipe = replace(RECIPE, **change)
        weights = state(recipe)
        variants[name_of(recipe)]["off"] = max(
            float(np.abs(weights[name] - plain[name]).max()) for name in plain
        )

    recipe = replace(RECIPE, precision="fp16")
    engine = create_engine("torch", CONFIG, recipe, None, "cpu", 1, RankInfo())
    engine.load_state(replace(engine.state(), scale=2.0**120))
    before = engine.state()
    first = engine.step(*batch(0), 1e-3, 0.0, False)
    after = engine.state()
    variants["overflow"] = {
        "finite": first.finite, "scale": after.scale, "skipped": after.skipped, "updates": after.updates,
        "unchanged": all(np.array_equal(before.weights[name], after.weights[name]) for name in plain),
    }  # fmt: skip

    engine = create_engine("torch", GUIDED, replace(RECIPE, clip_grad=0.0), None, "cpu", 1, RankInfo())
    moved = []
    for flow_lr in (0.0, 2.5e-4):
        before = engine.state()
        engine.step(*batch(0, 1, 4, 40), 1e-3, flow_lr, False)
        after = engine.state()
        changed = {
            name for name in before.weights if not np.array_equal(before.weights[name], after.weights[name])
        }
        moved.append(
            [
                any(n.startswith("flow.") for n in changed),
                any(not n.startswith("flow.") for n in changed),
                after.flow_updates,
            ]
        )
    variants["flow"] = moved

    from torch.utils.flop_counter import FlopCounterMode

    from rvrt_cli.model.config import PRESETS
    from rvrt_cli.train.plan import forward_macs_per_px

    variants["macs"] = []
    for preset in ("light-s", "light-s-x2"):
        engine = create_engine("torch", PRESETS[preset], RECIPE, None, "cpu", 1, RankInfo())
        with FlopCounterMode(display=False) as counter:
            engine.predict(np.zeros((8, 16, 16, 3), np.float32))
        counted = counter.get_total_flops() / 2 / (8 * 16 * 16)
        variants["macs"].append([counted, forward_macs_per_px(PRESETS[preset])])
    (out / "variants.json").write_text(json.dumps(variants))


def guided(backend: str, out: Path) -> None:
    """The published alignment: a step with its flow network frozen and two without; the last two again from a checkpoint."""
    recipe = replace(RECIPE, clip_grad=0.0)
    engine = create_engine(backend, GUIDED, recipe, None, "cpu", 1, RankInfo())

    def steps(first: int) -> list[dict[str, Any]]:
        return [
            asdict(engine.step(*batch(step, 1, 4, 40), 1e-3, 2.5e-4 if step else 0.0, False))
            for step in range(first, 3)
        ]

    path = out / f"{backend}-guided-1.safetensors"
    first = asdict(engine.step(*batch(0, 1, 4, 40), 1e-3, 0.0, False))
    save_checkpoint(path, Checkpoint(1, GUIDED, recipe, engine.state()))
    results = [first, *steps(1)]
    whole = engine.state()
    save_checkpoint(out / f"{backend}-guided.safetensors", Checkpoint(3, GUIDED, recipe, whole))
    engine.load_state(load_checkpoint(path).state)
    again = steps(1)
    state = engine.state()
    same = again == results[1:] and all(
        np.array_equal(getattr(whole, kind)[name], getattr(state, kind)[name])
        for kind in ("weights", "ema", "adam_m", "adam_v")
        for name in whole.weights
    )
    (out / f"{backend}-guided.json").write_text(json.dumps({"steps": results, "resumed_alike": same}))


def torch_compiled(out: Path) -> None:
    """Two steps of the compiled network beside the plain one."""
    warnings.filterwarnings("error", category=UserWarning, message="To copy construct")
    losses = []
    for compiled in (False, True):
        engine = create_engine("torch", TINY, replace(RECIPE, compile=compiled), None, "cpu", 1, RankInfo())
        losses.append([step["loss"] for step in train(engine, RECIPE, 0, 2)])
    (out / "compiled.json").write_text(json.dumps(losses))


def torch_threads(out: Path) -> None:
    """Steps on two threads, the last ones again from a checkpoint."""
    engine = create_engine("torch", CONFIG, RECIPE, None, "cpu", 2, RankInfo())
    train(engine, RECIPE, 0, 2)
    save_checkpoint(out / "half.safetensors", Checkpoint(2, CONFIG, RECIPE, engine.state()))
    train(engine, RECIPE, 2, 4)
    whole = engine.state()
    engine.load_state(load_checkpoint(out / "half.safetensors").state)
    train(engine, RECIPE, 2, 4)
    state = engine.state()
    alike = all(np.array_equal(whole.weights[name], state.weights[name]) for name in whole.weights)
    (out / "threads.json").write_text(json.dumps(alike))


def mindspore_mixed(out: Path) -> None:
    """Four steps in fp16 with loss scaling, accumulation and recomputation, then one that overflows."""
    recipe = replace(RECIPE, precision="fp16", recompute=True, accumulate=2)
    engine = create_engine("mindspore", CONFIG, recipe, None, "cpu", 1, RankInfo())
    steps = train(engine, recipe, 0, 4)
    engine.load_state(replace(engine.state(), scale=2.0**120))
    steps.append(asdict(engine.step(*batch(4), 1e-3, 0.0, False)))
    state = engine.state()
    counters = {"scale": state.scale, "skipped": state.skipped, "updates": state.updates}
    (out / "mixed.json").write_text(json.dumps({"steps": steps, "counters": counters}))


if __name__ == "__main__":
    chosen, folder = sys.argv[1], Path(sys.argv[2])
    if chosen == "variants":
        torch_variants(folder)
    elif chosen == "mindspore-mixed":
        mindspore_mixed(folder)
    elif chosen == "torch-compiled":
        torch_compiled(folder)
    elif chosen == "torch-threads":
        torch_threads(folder)
    elif chosen.endswith("-guided"):
        guided(chosen.removesuffix("-guided"), folder)
    elif len(sys.argv) > 3:
        resume(chosen, folder, sys.argv[3])
    else:
        ten_steps(chosen, folder)
