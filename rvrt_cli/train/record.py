"""What the loop itself must remember from one part of a run to the next, kept in every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace

from rvrt_cli.train.settings import RunSettings


@dataclass(frozen=True)
class RunRecord:
    """Of a run so far."""

    model: str
    initial: str
    """Where the first weights came from: "random", or what --init was given."""
    data: tuple[str, ...]
    validation: tuple[str, ...]
    """The sets over which ``best`` is a mean."""
    best: float | None = None
    """Best mean Y-PSNR in dB."""
    best_step: int = 0
    validated_step: int = 0
    """Of the last whole validation."""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of that validation, by set."""
    seconds: float = 0.0
    """Trained so far."""

    def to_dict(self) -> dict:
        """For a checkpoint."""
        return asdict(self)


def new_record(settings: RunSettings) -> RunRecord:
    """Of a run that begins."""
    return RunRecord(
        settings.model,
        settings.initial_label,
        settings.data,
        tuple(str(spec) for spec in settings.validation),
    )


def continued_record(stored: dict, step: int, settings: RunSettings) -> tuple[RunRecord, list[str]]:
    """That of a checkpoint, for a run that goes on with ``settings``, and what is unlike before, in words.

    Checkpoints of earlier versions lack some entries; those are taken from ``settings``.
    """
    now = new_record(settings)
    known = {f.name for f in fields(RunRecord)}
    values = {name: value for name, value in stored.items() if name in known}
    for name in ("data", "validation"):
        if name in values:
            values[name] = tuple(values[name])
    before = replace(now, **{"validated_step": step, **values})
    notes = []
    if before.data != now.data:
        notes.append(f"training data {', '.join(now.data)} instead of {', '.join(before.data)}")
    if before.validation != now.validation:
        notes.append(
            f"validation on {', '.join(now.validation) or 'nothing'} instead of "
            f"{', '.join(before.validation) or 'nothing'}: the best so far counts no more"
        )
        before = replace(before, best=None, best_step=0, metrics={})
    return replace(before, model=now.model, data=now.data, validation=now.validation), notes
