"""Where a run happens and what it reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.train.batches import SourceSpec
from rvrt_cli.train.validate import ValidationSpec


@dataclass(frozen=True)
class RunSettings:
    """Everything about a run but its recipe; nothing here changes the weights of an fp32 run."""

    out: Path
    model: str
    sources: tuple[SourceSpec, ...]
    validation: tuple[ValidationSpec, ...] = ()
    backend: str = "torch"
    backend_reason: str = ""
    """Why it was chosen, where --backend auto chose it."""
    device: str = "auto"
    machines: int = 1
    threads: int = 0
    """CPU threads of this process; 0 for the framework's choice."""
    workers: int = 1
    """Data processes per device; 0 makes batches in the training process."""
    cache_mib: int = 2048
    """Decoded pictures that the data processes of a device keep, all together."""
    resume: bool = False
    val_interval: int = 1000
    save_interval: int = 1000
    log_interval: int = 10
    keep: int = 3
    """Checkpoints that stay."""
    tensorboard: bool = False
    samples: bool = True
    """Write pictures at each validation."""
    time_limit_s: float = 0.0
    """Save and stop after so many seconds; 0 for no limit."""
    initial_label: str = "random"
    command: str = ""
    """The command line, for the exported weights' metadata."""

    @property
    def data(self) -> tuple[str, ...]:
        """The training data in words, one line per folder."""
        return tuple(str(source) for source in self.sources)

    def validates_at(self, step: int, steps: int) -> bool:
        """Whether the validation sets are measured after ``step`` of ``steps`` steps."""
        return bool(self.validation) and step > 0 and (step == steps or step % self.val_interval == 0)
