"""The ``lab`` command. Each command imports what it needs when it is called; ``lab --help`` needs typer alone.

Exit codes: 0 done (for ``claim``: it holds, or works), 1 a notebook did not run to its end or a claim is refuted, 2 bad input,
3 the store or a file cannot be read or written, 4 a claim is undecided, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from lab.cli import claims, export, index, many, new, runs, tools

app = typer.Typer(
    name="lab",
    help="Objective Lab: differentiable objectives and what they do to a model, with every claim measured.",
    epilog="Exit codes: 0 success · 1 run failed or claim refuted · 2 bad input · 3 file error · 4 undecided · 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from lab import __version__

        typer.echo(f"lab {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for part in (runs, many, export, index, claims, new, tools):
    part.register(app)


def main() -> None:
    """Run the command line; errors of the user and of files become one sentence and an exit code."""
    arguments = join_pairs(sys.argv[1:])
    for name in ("SIGTERM", "SIGHUP"):  # what schedulers and closed terminals send ends a command as Ctrl-C does
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        app(args=arguments, prog_name="lab")
    except KeyboardInterrupt:
        _fail("interrupted; finished work is kept, and the same command resumes from there", 130)
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _fail(str(error.args[0]) if len(error.args) == 1 else f"{error.strerror}{where}", 3)
    except (ValueError, TypeError) as error:
        _fail(str(error), 2)


def join_pairs(arguments: list[str]) -> list[str]:
    """``-p name value`` as ``-p name=value``, which the option parser takes, ``--raw`` too.

    The command after ``lab warm`` stays as it is.
    """
    if arguments[:1] == ["warm"]:
        return arguments
    found: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        following = arguments[position + 1 : position + 3]
        if word in ("-p", "--parameter", "-r", "--raw") and len(following) == 2 and following[0].isidentifier():
            found += [word, f"{following[0]}={following[1]}"]
            position += 3
        else:
            found.append(word)
            position += 1
    return found


def _fail(message, code):
    typer.echo(f"lab: {message}", err=True)
    raise SystemExit(code) from None
