"""The program: copied to the working directory and looked at before a ring is formed. Called by the agent's staging.

Never runs the program, and imports nothing of it.
"""

from __future__ import annotations

import shutil
from importlib.machinery import PathFinder
from pathlib import Path

from kerasjob_api.constants import Reason
from kerasjob_api.wire import FailureRecord, ProgramConfig
from kerasjob_trainer.settings import SOURCE_NAME


class BadProgram(Exception):
    """The program cannot be run; the record says why."""

    def __init__(self, record: FailureRecord) -> None:
        super().__init__(record.message)
        self.record = record


def copy_code(code_dir: Path, program_dir: Path, program: ProgramConfig) -> None:
    """Copies the mounted code; writes `program.source` beside it. Raises OSError."""
    program_dir.mkdir(parents=True, exist_ok=True)
    if code_dir.is_dir():
        # A mounted ConfigMap is links into hidden directories, which are not code themselves.
        shutil.copytree(code_dir, program_dir, dirs_exist_ok=True, ignore=lambda _, names: _hidden(names))
    if program.source is not None:
        (program_dir / SOURCE_NAME).write_text(program.source)


def _hidden(names: list[str]) -> set[str]:
    return {name for name in names if name.startswith("..")}


def script_path(program_dir: Path, program: ProgramConfig) -> Path | None:
    """The file that is run; None for a module and for a recipe."""
    if program.module is not None or program.recipe is not None:
        return None
    return program_dir / (SOURCE_NAME if program.source is not None else program.script or "")


def check_program(program_dir: Path, program: ProgramConfig) -> None:
    """Raises BadProgram where the program is not there or does not compile. A recipe needs Keras to be looked at."""
    if program.recipe is not None:
        return
    script = script_path(program_dir, program)
    if script is None:
        _check_module(program_dir, program.module or "")
        return
    if not script.is_file():
        there = sorted(p.name for p in program_dir.iterdir() if not p.name.startswith("."))[:20]
        raise BadProgram(
            FailureRecord(
                Reason.BAD_PROGRAM,
                f"program.script {program.script} does not exist; it is looked up in the working directory"
                f" {program_dir}, which holds: {', '.join(there) or 'nothing'}",
                file=program.script,
            )
        )
    _check_compiles(script, program_dir)


def _check_module(program_dir: Path, module: str) -> None:
    """Follows the dotted name through files, so that no package of the user is imported here."""
    path: list[str] | None = [str(program_dir)]
    origin = None
    for index, part in enumerate(module.split(".")):
        spec = PathFinder.find_spec(part, path) or (PathFinder.find_spec(part) if index == 0 else None)
        if spec is None:
            raise BadProgram(
                FailureRecord(
                    Reason.BAD_PROGRAM,
                    f"program.module {module}: there is no module {part!r} in the working directory {program_dir} or"
                    " the image",
                )
            )
        origin = spec.origin
        path = list(spec.submodule_search_locations or [])
    if path:
        main = PathFinder.find_spec("__main__", path)
        if main is None:
            raise BadProgram(
                FailureRecord(Reason.BAD_PROGRAM, f"program.module {module} is a package without a __main__ module")
            )
        origin = main.origin
    if origin and origin.endswith(".py"):
        _check_compiles(Path(origin), program_dir)


def _check_compiles(script: Path, program_dir: Path) -> None:
    name = str(script.relative_to(program_dir)) if script.is_relative_to(program_dir) else str(script)
    try:
        # dont_inherit: our own `from __future__` lines are not the program's
        compile(script.read_bytes(), str(script), "exec", dont_inherit=True)
    except SyntaxError as error:
        text = f": {error.text.strip()}" if error.text else ""
        raise BadProgram(
            FailureRecord(Reason.BAD_PROGRAM, f"{error.msg}{text}", type(error).__name__, file=name, line=error.lineno)
        ) from error
    except ValueError as error:  # null bytes
        raise BadProgram(FailureRecord(Reason.BAD_PROGRAM, str(error), "SyntaxError", file=name)) from error
