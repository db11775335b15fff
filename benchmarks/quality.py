"""Quality tables: each model on each set, beside bicubic, as Markdown for the README and the model cards.

Run: ``python benchmarks/quality.py --data DIR [--model light-s ...] [--frames N] [--json FILE]`` where DIR holds
``davis_mini`` and ``vimeo90k_mini`` (or full sets under their protocols' names).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rvrt_cli.errors import RvrtError
from rvrt_cli.evaluate.models import Feeding, ModelSpec
from rvrt_cli.evaluate.protocols import PROTOCOLS
from rvrt_cli.evaluate.run import EvalOptions, EvalReport, evaluate

FOLDERS = {
    "davis": ("davis", "davis_mini"),
    "vimeo90k": ("vimeo90k", "vimeo90k_mini"),
    "vid4": ("vid4", "Vid4"),
    "reds4": ("reds4", "REDS4"),
}


def markdown(report: EvalReport, repeated: EvalReport | None) -> str:
    """One table: a row per clip, the mean last."""
    model, baseline = (total.model for total in report.totals)
    lines = [
        f"### {report.dataset}, {report.clips} clips: {model}",
        "",
        f"{report.protocol} Low quality: {report.low_quality}.",
        "",
        f"| clip | {model} PSNR | SSIM | {baseline} PSNR | SSIM | gain dB | flicker {model} | flicker {baseline} |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = [
        (clip, *(report.score(clip, name) for name in (model, baseline)))
        for clip in dict.fromkeys(s.clip for s in report.scores)
    ]
    for clip, ours, theirs in [*rows, ("**mean**", *report.totals)]:
        lines.append(
            f"| {clip} | {ours.psnr:.2f} | {ours.ssim:.4f} | {theirs.psnr:.2f} | {theirs.ssim:.4f} | {ours.psnr - theirs.psnr:+.2f} | "
            f"{ours.flicker:.2f} | {theirs.flicker:.2f} |"
        )
    total = report.totals[0]
    lines += [
        "",
        f"{total.engine}: {total.seconds_per_call:.2f} s per call, {total.fps:.2f} output frames per second, peak {total.peak_rss_mib:.0f} MiB.",
    ]
    if repeated is not None:
        alone = repeated.totals[0].psnr
        lines.append(
            f"The same network given each frame alone, repeated: {alone:.2f} dB; real neighbours are worth {total.psnr - alone:+.2f} dB."
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=["light-s"])
    parser.add_argument("--sets", nargs="+", default=["davis", "vimeo90k"], choices=sorted(FOLDERS))
    parser.add_argument("--frames", type=int, help="the first N frames of each clip")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--backend", default="auto")
    parser.add_argument(
        "--neighbours", action="store_true", help="also feed each frame alone (six times the work)"
    )
    parser.add_argument("--json", type=Path, help="write the reports there")
    arguments = parser.parse_args()
    reports = []
    for name in arguments.sets:
        root = next(
            (arguments.data / folder for folder in FOLDERS[name] if (arguments.data / folder).is_dir()), None
        )
        if root is None:
            sys.exit(f"{arguments.data} holds none of {', '.join(FOLDERS[name])}.")
        for model in arguments.model:
            label = Path(model).stem if len(Path(model).parts) > 1 else model
            spec = ModelSpec(label, model, device=arguments.device, backend=arguments.backend)
            options = EvalOptions(
                PROTOCOLS[name],
                root,
                (spec, ModelSpec("bicubic", "bicubic")),
                frames=arguments.frames,
                temporal=True,
            )
            try:
                report = evaluate(options)
                repeated = None
                if arguments.neighbours:
                    alone = EvalOptions(
                        PROTOCOLS[name], root, (spec,), frames=arguments.frames, feeding=Feeding(repeat=True)
                    )
                    repeated = evaluate(alone)
            except RvrtError as error:
                sys.exit(str(error))
            reports.append(report.to_dict())
            sys.stdout.write(markdown(report, repeated) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
