"""The command aboutness-local."""

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from aboutness_assets.domain.errors import AboutnessError

HELP = """\
aboutness-local COMMAND ...   run a command inside the embedded environment, e.g. aboutness-local dagster dev
aboutness-local stop          stop its Postgres and its stand-in endpoint; the data is kept
aboutness-local reset         stop both and delete everything they created

The environment is a Postgres with pgvector and a sample catalogue, and a stand-in endpoint that speaks the
OpenAI API. Its files are in the project's directory .aboutness, or in ABOUTNESS_LOCAL_DIR. Both servers
listen on 127.0.0.1 only and keep running for the next command.
"""

OWN_FAILURE, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""The exit codes that env, timeout and nohup use for failures of their own."""


def main() -> None:
    """Run the command line: end the process, or become the command."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    try:
        if arguments == ["stop"]:
            _stop()
        elif arguments == ["reset"]:
            _reset()
        else:
            _run(arguments)
    except (AboutnessError, OSError) as error:
        print(f"aboutness-local: {error}", file=sys.stderr)
        sys.exit(OWN_FAILURE)
    except KeyboardInterrupt:
        sys.exit(130)


def _stop() -> None:
    from aboutness_local.environment import LocalEnvironment, local_directory

    directory = local_directory()
    stopped = LocalEnvironment(directory).stop()
    print(
        f"Stopped {' and '.join(stopped)} of {directory}."
        if stopped
        else f"Nothing is running in {directory}."
    )


def _reset() -> None:
    from aboutness_local.environment import LocalEnvironment, local_directory

    directory = local_directory()
    was_there = LocalEnvironment(directory).reset()
    print(
        f"Deleted the environment in {directory}."
        if was_there
        else f"There is no environment in {directory}."
    )


def _run(command: list[str]) -> None:
    """Become the command, so that signals, terminal and exit code are its own."""
    from aboutness_local.environment import LocalEnvironment, local_directory

    _drop_libpq_settings()
    settings = LocalEnvironment(local_directory()).start()
    _refuse_dotenv(settings)
    overridden = [name for name in settings if name in os.environ and not name.startswith("ABOUTNESS_")]
    print(_notice(overridden), file=sys.stderr, flush=True)
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    try:
        os.execvpe(command[0], command, {**os.environ, **settings, "PATH": path})  # noqa: S606
    except FileNotFoundError:
        print(f"aboutness-local: command not found: {command[0]}", file=sys.stderr)
        sys.exit(NOT_FOUND)
    except OSError as error:
        print(f"aboutness-local: {command[0]} cannot be run: {error.strerror}.", file=sys.stderr)
        sys.exit(NOT_EXECUTABLE)


def _drop_libpq_settings() -> None:
    """Remove PGHOSTADDR, PGOPTIONS and the like: they are for the caller's database and would alter ours."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _refuse_dotenv(settings: Mapping[str, str]) -> None:
    """Refuse a .env of the current directory that Dagster's commands would prefer to our settings."""
    from dotenv import dotenv_values

    if clashing := [name for name in dotenv_values(".env") if name in settings]:
        raise AboutnessError(
            f"{Path.cwd() / '.env'} sets {', '.join(clashing)}, and Dagster prefers it to the environment: "
            "the command would use that instead. Run it in another directory, or rename .env for now."
        )


def _notice(overridden: list[str]) -> str:
    unused = f" Not used here: your own {', '.join(overridden)}." if overridden else ""
    return (
        "aboutness-local: texts and vectors come from the stand-in endpoint, not from a real model. "
        "For a real one, set DATABASE_URL, DAGSTER_PG_URL and OPENAI_API_KEY and leave out aboutness-local."
        f"{unused}"
    )
