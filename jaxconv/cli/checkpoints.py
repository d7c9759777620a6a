"""The checkpoints of `jaxconv learn --checkpoint`, in one folder a plane."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.learn import Checkpoints, kept_steps


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """The options about checkpoints.

    Attributes:
        folder: None for no checkpoints.
        every: steps between checkpoints, None for the library's default.
        resume: whether to go on from the checkpoints in the folder.
        settings: values that must be the same when the run is resumed, by option.
    """

    folder: Path | None = None
    every: int | None = None
    resume: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def check(self, planes: list[str]) -> None:
        """Check the options, before any work is done.

        Raises:
            CommandError: an option needs another one, or the folder holds another run.
        """
        if self.folder is None:
            for name, given in (("--resume", self.resume), ("--checkpoint-every", self.every)):
                if given:
                    raise CommandError(f"{name} needs --checkpoint FOLDER")
            return
        if self.every is not None and self.every < 1:
            raise CommandError(f"--checkpoint-every must be 1 or more, got {self.every}")
        with as_command_error():
            found = [p.name for p in self.folder.glob("*") if p.is_dir() and kept_steps(p)]
        if not self.resume and found:
            last = max(kept_steps(self.folder / name)[-1] for name in found)
            raise CommandError(
                f"{self.folder} holds checkpoints up to step {last}: add --resume to go on from "
                f"there, or name another folder"
            )
        if others := sorted(set(found) - {_folder(plane) for plane in planes}):
            raise CommandError(
                f"{self.folder} holds a run on the planes {', '.join(others)}, this one is on "
                f"{', '.join(planes)}: repeat that one's settings, or name another folder"
            )

    def restored(self, plane: str) -> int:
        """Number of steps of a plane's run that are kept already."""
        if self.folder is None:
            return 0
        return max(kept_steps(self.folder / _folder(plane)), default=0)

    def of(self, plane: str) -> Checkpoints | None:
        """The checkpoints of one plane's run."""
        if self.folder is None:
            return None
        return Checkpoints(
            directory=self.folder / _folder(plane),
            every=self.every,
            resume=self.resume,
            settings=self.settings,
        )


def _folder(plane: str) -> str:
    return plane.replace(" ", "_")
