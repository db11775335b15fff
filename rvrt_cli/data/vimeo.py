"""The Vimeo-90K septuplet layout: ``sequences/00001/0266/im1.png`` … ``im7.png`` and lists of ``00001/0266`` lines.

Source: Xue et al., "Video Enhancement with Task-Oriented Flow" (2019), http://toflow.csail.mit.edu.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rvrt_cli.errors import InputError
from rvrt_cli.system.files import visible

SEPTUPLET_FRAMES = 7
LISTS = {"train": "sep_trainlist.txt", "test": "sep_testlist.txt"}
GT_FOLDER = "sequences"
_LINE = re.compile(r"^\d{5}/\d{4}$")


@dataclass(frozen=True)
class VimeoRoot:
    """Where the parts of one copy of Vimeo-90K lie."""

    root: Path
    images: Path
    """The folder with ``00001/0001/im1.png``."""
    lists: dict[str, Path]
    """Subset ("train", "test") to its list; only those that exist."""

    def read_list(self, subset: str) -> list[str]:
        """The septuplets of a subset, as ``00001/0266``.

        Errors: :class:`InputError` for a list that is missing, empty or holds a line of another form.
        """
        if subset not in self.lists:
            raise InputError(
                f"{self.root} has no {LISTS.get(subset, subset)}; put the list of Vimeo-90K beside {GT_FOLDER}/."
            )
        return read_septuplet_list(self.lists[subset])


def find_vimeo_root(root: Path) -> VimeoRoot:
    """Find ``sequences/`` and the lists in ``root`` or one level below (``vimeo_septuplet/``).

    Errors: :class:`InputError` saying what is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(
            f"{root} is not a folder; give the folder that holds Vimeo-90K's {GT_FOLDER}/ and its lists."
        )
    below = [path for path in visible(root) if path.is_dir()]
    for candidate in [root, *below]:
        if (candidate / GT_FOLDER).is_dir():
            lists = {
                subset: candidate / name for subset, name in LISTS.items() if (candidate / name).is_file()
            }
            if not lists:
                raise InputError(
                    f"{candidate} holds {GT_FOLDER}/ but neither {' nor '.join(LISTS.values())}; copy the lists there."
                )
            return VimeoRoot(candidate, candidate / GT_FOLDER, lists)
    raise InputError(
        f"{root} holds no {GT_FOLDER}/ folder; give the folder to which vimeo_septuplet.zip was extracted."
    )


def read_septuplet_list(path: Path) -> list[str]:
    """The lines of a Vimeo-90K list, ``00001/0266`` each; blank lines are skipped.

    Lines of the training script's meta files (``00001/0266 7 (256,448,3)``) are accepted too.
    Errors: :class:`InputError` for a list that cannot be read, is empty or holds anything else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of septuplets: {error}.") from error
    names = [line.split()[0] for line in lines if line.strip()]
    for number, name in enumerate(names, 1):
        if not _LINE.match(name):
            raise InputError(f"{path}: entry {number} is {name!r}, but a septuplet is named like 00001/0266.")
    if not names:
        raise InputError(f"{path} lists no septuplets.")
    return names


def septuplet_frames(images: Path, name: str) -> list[Path]:
    """The seven frame paths of a septuplet."""
    return [images / name / f"im{index}.png" for index in range(1, SEPTUPLET_FRAMES + 1)]
