"""The command aboutness-local."""

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from aboutness_assets.domain.errors import AboutnessError

HELP = """\
aboutness-local COMMAND ...   run a command inside the embedded environment, say: aboutness-local dagster dev
aboutness-local stop          stop its Postgres and its stand-in endpoint; the data stay
aboutness-local reset         stop both and delete all that they made

The environment is a Postgres with pgvector and a sample catalogue, and a stand-in endpoint that speaks the
OpenAI API. It lives in .aboutness of the project, or where ABOUTNESS_LOCAL_DIR says. Both servers listen on
127.0.0.1 only and stay up for the next command.
"""

OWN_FAILURE, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""Exit codes as those of env, timeout and nohup: ours, where they cannot be the command's."""


def main() -> None:
    """Run the command line; ends the process, or becomes the command."""
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
    print(f"Stopped {' and '.join(stopped)} of {directory}." if stopped else f"Nothing runs in {directory}.")


def _reset() -> None:
    from aboutness_local.environment import LocalEnvironment, local_directory

    directory = local_directory()
    was_there = LocalEnvironment(directory).reset()
    print(f"Deleted the environment in {directory}." if was_there else f"There is none in {directory}.")


def _run(command: list[str]) -> None:
    """Become the command, so that signals, terminal and exit code are its own."""
    from aboutness_local.environment import LocalEnvironment, local_directory

    _forget_libpq_settings()
    settings = LocalEnvironment(local_directory()).bring_up()
    _refuse_dotenv(settings)
    overridden = [name for name in settings if name in os.environ and not name.startswith("ABOUTNESS_")]
    print(_notice(overridden), file=sys.stderr, flush=True)
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    try:
        os.execvpe(command[0], command, {**os.environ, **settings, "PATH": path})  # noqa: S606
    except FileNotFoundError:
        print(f"aboutness-local: there is no command {command[0]}.", file=sys.stderr)
        sys.exit(NOT_FOUND)
    except OSError as error:
        print(f"aboutness-local: {command[0]} cannot be run: {error.strerror}.", file=sys.stderr)
        sys.exit(NOT_EXECUTABLE)


def _forget_libpq_settings() -> None:
    """Drop PGHOSTADDR, PGOPTIONS and the like: they speak of the caller's database and bend our URLs."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _refuse_dotenv(settings: Mapping[str, str]) -> None:
    """Dagster's commands let .env of the current directory override the environment, ours included."""
    from dotenv import dotenv_values

    if clashing := [name for name in dotenv_values(".env") if name in settings]:
        raise AboutnessError(
            f"{Path.cwd() / '.env'} sets {', '.join(clashing)}, and Dagster takes it before the environment: "
            "the command would work on what it names. Run it in another directory, or rename .env meanwhile."
        )


def _notice(overridden: list[str]) -> str:
    unused = f" Not used here: your own {', '.join(overridden)}." if overridden else ""
    return (
        "aboutness-local: texts and vectors come from the stand-in endpoint, not from a real model. "
        f"For one, set DATABASE_URL, DAGSTER_PG_URL and OPENAI_API_KEY and leave out aboutness-local.{unused}"
    )
