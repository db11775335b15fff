"""Quality tables: each model on each set, beside bicubic, as Markdown for the README and the model cards.

Run: ``python benchmarks/quality.py --data DIR [--model light-s ...] [--frames N] [--crf 20]`` where DIR holds ``davis_mini``
and ``vimeo90k_mini`` (or full sets under their protocols' names). ``--crf`` encodes the reduced clips with x264 (4:2:0) and
gives the decoded frames to the models: how they do on compressed films. ``--json`` prints one JSON object per set, model and
clip instead of tables, ``--out FILE`` keeps the whole reports.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rvrt_cli.errors import RvrtError
from rvrt_cli.evaluate.datasets import load_clip, open_dataset
from rvrt_cli.evaluate.models import ModelSpec, WindowConfig
from rvrt_cli.evaluate.protocols import PROTOCOLS
from rvrt_cli.evaluate.report import EvalReport
from rvrt_cli.evaluate.run import EvalOptions, evaluate
from rvrt_cli.imaging.images import write_png
from rvrt_cli.media.recompress import compress_h264

SCALE = 4
X264_PRESET = "medium"  # x264's own default

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


def rows(report: EvalReport) -> list[dict[str, object]]:
    """The same figures as plain values: each clip, the mean last; ``gain_db`` is over the last model, the baseline."""
    found: list[dict[str, object]] = []
    baseline = {score.clip: score.psnr for score in report.scores if score.model == report.totals[-1].model}
    baseline["mean"] = report.totals[-1].psnr
    for score in [*report.scores, *report.totals]:
        clip = getattr(score, "clip", "mean")
        found.append(
            {"set": report.dataset, "low_quality": report.low_quality, "clip": clip, "model": score.model, "psnr": score.psnr,
             "gain_db": score.psnr - baseline[clip], "ssim": score.ssim, "flicker": score.flicker}
        )  # fmt: skip
    return found


def make_compressed(name: str, root: Path, crf: float, folder: Path) -> Path:
    """Write the clips of a set, reduced by :data:`SCALE` and compressed with x264 at ``crf``, as PNG folders; → their root.

    They lie under the clips' own names, or for Vimeo-90K as septuplets, so that ``rvrt eval --lq`` finds them.
    """
    for clip in open_dataset(PROTOCOLS[name], root, make_lq=True):
        _, lq = load_clip(clip, SCALE, "BI")
        target = folder / clip.name
        target.mkdir(parents=True)
        for path, frame in zip(clip.gt, compress_h264(lq, crf, preset=X264_PRESET), strict=True):
            write_png(target / f"{path.stem}.png", frame)
    return folder


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
    parser.add_argument("--crf", type=float, help="compress the low quality with x264, 0 to 51")
    parser.add_argument("--keep-lq", type=Path, metavar="DIR", help="keep the compressed frames there")
    parser.add_argument("--json", action="store_true", help="print one JSON object per clip, no tables")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the whole reports there, as JSON")
    arguments = parser.parse_args()
    if arguments.keep_lq and arguments.crf is None:
        parser.error("--keep-lq needs --crf")
    with tempfile.TemporaryDirectory(prefix="rvrt-quality-") as scratch:
        reports = measure(arguments, Path(scratch))
    if arguments.out:
        arguments.out.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")


def measure(arguments: argparse.Namespace, scratch: Path) -> list[dict[str, object]]:
    """Every model on every set; prints as it goes."""
    reports = []
    for name in arguments.sets:
        root = next(
            (arguments.data / folder for folder in FOLDERS[name] if (arguments.data / folder).is_dir()), None
        )
        if root is None:
            sys.exit(f"{arguments.data} holds none of {', '.join(FOLDERS[name])}.")
        lq = None
        try:
            if arguments.crf is not None:
                folder = (arguments.keep_lq or scratch) / name
                lq = make_compressed(name, root, arguments.crf, folder)
        except (RvrtError, FileExistsError) as error:
            sys.exit(str(error))
        for model in arguments.model:
            label = Path(model).stem if len(Path(model).parts) > 1 else model
            spec = ModelSpec(label, model, device=arguments.device, backend=arguments.backend)
            options = EvalOptions(
                PROTOCOLS[name],
                root,
                (spec, ModelSpec("bicubic", "bicubic")),
                lq_root=lq,
                frames=arguments.frames,
                temporal=True,
            )
            try:
                report = evaluate(options)
                if lq is not None:
                    words = f"BI x{SCALE}, then x264 CRF {arguments.crf:g}, {X264_PRESET}"
                    report = replace(report, low_quality=words)
                repeated = None
                if arguments.neighbours:
                    repeated = evaluate(
                        EvalOptions(
                            PROTOCOLS[name],
                            root,
                            (spec,),
                            lq_root=lq,
                            frames=arguments.frames,
                            windows=WindowConfig(repeat=True),
                        )
                    )
            except RvrtError as error:
                sys.exit(str(error))
            reports.append(report.to_dict())
            if arguments.json:
                sys.stdout.writelines(json.dumps(row) + "\n" for row in rows(report))
            else:
                sys.stdout.write(markdown(report, repeated) + "\n")
            sys.stdout.flush()
    return reports


if __name__ == "__main__":
    main()
