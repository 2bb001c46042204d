"""`sluiceway serve`: the settings list as options, a few lines for people, and the server."""

from __future__ import annotations

import os
import secrets
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sluiceway.cli.checking.given_settings import (
    SettingsCommand,
    name_places,
    refuse_empty_variables,
    unknown_variables,
)
from sluiceway.cli.terminal_text import say
from sluiceway.errors import SluiceError
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting, writable_by_others
from sluiceway.server.settings.listed import setting_help

__all__ = [
    "config_option",
    "refuse_shown_secret",
    "refuse_uploaded_settings",
    "serve",
    "setting_options",
]

F = TypeVar("F", bound=Callable[..., Any])

CONFIG = "sluiceway.toml"
USAGE = 2  # exit code of a setting that cannot be used, as for a wrong option
TOKEN_BYTES = 24  # random bytes of a token; 32 characters, which cannot be guessed
ALL_ADDRESSES = {"://0.0.0.0:": "://localhost:", "://[::]:": "://localhost:"}


class _OneOfSeveral(click.types.StringParamType):
    """One of several values. A variable has one per line, because paths and headers hold spaces."""

    name = "text"
    envvar_list_splitter = "\n"


def setting_options(command: click.Command) -> click.Command:
    """Give a command an option for each setting."""
    for name, (default, text) in setting_help().items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            option = click.Option([flag], is_flag=True, default=default, help=text)
        elif isinstance(default, tuple):
            option = click.Option(
                [flag],
                type=_OneOfSeveral(),
                multiple=True,
                default=default,
                show_default=bool(default),
                help=text,
            )
        else:
            kind = type(default) if default is not None else str
            option = click.Option(
                [flag], type=kind, default=default, show_default=default is not None, help=text
            )
        option.show_envvar = True
        command.params.append(option)
    return command


def _from_file(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    """The settings in the file become the defaults; an unknown name is an error."""
    path = Path(value or CONFIG)
    if value is None and not path.exists():
        return None
    try:
        with path.open("rb") as file:
            if writable_by_others(os.fstat(file.fileno())):
                raise click.UsageError(
                    f"{path} can be written by other users, who could change what is served; "
                    "run chmod go-w on it"
                )
            parsed: dict[str, Any] = tomllib.loads(file.read().decode("utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from None
    known = {name.replace("-", "_"): setting for name, setting in parsed.items()}
    unknown = sorted(set(known) - set(setting_help()))
    if unknown:
        raise click.UsageError(
            f"{path} has no setting {unknown[0]!r}; known are {', '.join(setting_help())}"
        )
    for name, setting in known.items():
        several = isinstance(setting_help()[name][0], tuple)
        values = setting if several and isinstance(setting, list) else [setting]
        if not all(isinstance(value, str | int | float) for value in values):
            takes = "text or a list of it" if several else "one value"
            raise click.UsageError(f"{path}: {name} takes {takes}, not {setting!r}")
        known[name] = values if several else setting
    context.obj = path.absolute()
    context.default_map = {**(context.default_map or {}), **known}
    return value


config_option: Callable[[F], F] = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    help=f"Settings file. Without this option, {CONFIG} in this folder is read if it exists.",
)


@click.command(
    cls=SettingsCommand,
    context_settings={"auto_envvar_prefix": "SLUICEWAY"},
    epilog="Each option can also be given as a SLUICEWAY_… variable, or in sluiceway.toml as "
    "max_size = '10GiB'. The order is: option, variable, file, default.",
)
@config_option
@click.option(
    "--random-token",
    is_flag=True,
    show_envvar=True,
    help="Make a token for this run and print it, unless --token, --token-file or --no-auth is "
    "given. For containers.",
)
@click.pass_context
def serve(context: click.Context, /, random_token: bool, **options: Any) -> None:
    """Store files of any size from browsers, curl and programs, and serve them for download.

    \b
    sluiceway serve --to ./uploads
    curl -T big.iso http://127.0.0.1:8000/files/big.iso
    """
    try:
        for what, instead in unknown_variables():
            say(f"sluiceway: {what}; {instead}", err=True)
        refuse_empty_variables()
        refuse_shown_secret(context)
        given = options["token"] or options["token_file"] or options["no_auth"]
        if make_token := random_token and not given:
            options["token"] = secrets.token_urlsafe(TOKEN_BYTES)
        settings = Settings(**options)
        refuse_uploaded_settings(context.obj, settings)
        # Late: --help and a wrong option load no server.
        from sluiceway.server.run import serve as run

        run(settings, lambda address: _greet(settings, address, context.obj, make_token))
    except SluiceError as error:
        say(f"sluiceway: {name_places(context, error.detail)}", err=True)
        sys.exit(USAGE if error.code in ("bad-setting", "bad-name") else 1)
    except OSError as error:
        say(f"sluiceway: {error}", err=True)
        sys.exit(1)


def refuse_shown_secret(context: click.Context) -> None:
    """Every user of this machine can read the options of a program."""
    source = context.get_parameter_source("hook_secret")
    if source is click.core.ParameterSource.COMMANDLINE:
        raise BadSetting(
            "--hook-secret would show the secret to every user of this machine; give "
            "--hook-secret-file FILE, or SLUICEWAY_HOOK_SECRET"
        )


def refuse_uploaded_settings(config: Path | None, settings: Settings) -> None:
    """A client that can store `sluiceway.toml` would choose the settings of the next start."""
    from sluiceway.server.destinations import destination_folders

    if config is None:
        return
    for folder in destination_folders(settings):
        if config.resolve().is_relative_to(folder):
            raise BadSetting(
                f"{config} lies in {folder}, the folder for uploads, which could replace it; move "
                "it, or store into another folder"
            )


def _greet(settings: Settings, address: str, config: Path | None, made_token: bool) -> None:
    for every, local in ALL_ADDRESSES.items():  # no browser opens them on all systems
        address = address.replace(every, local)
    takes_tokens = settings.token or settings.token_file or settings.jwt_keys
    auth = " -u :TOKEN" if takes_tokens else ""
    from sluiceway.server.destinations import display_name, sends_on

    does = "sends on to" if sends_on(settings) else "stores into"
    say(f"Sluiceway {does} {display_name(settings)}")
    if made_token:
        say(f"  token  {settings.token}  (for this run; --token-file keeps one)")
    say(f"  page   {address}")
    if settings.has_tokens and not takes_tokens:
        say(f"  users  named by {settings.trust_user_header}: come through that proxy")
    else:
        say(f"  curl   curl{auth} -T big.iso {address}files/big.iso")
        say(f"  python sluiceway.copy('big.iso', '{address}files/big.iso')")
    if config is not None:
        say(f"  settings from {config}")
    if not settings.has_tokens and not settings.no_auth:
        say(
            "  without a token: every user and program of this machine can upload, read and delete",
            err=True,
        )
    if settings.no_auth:
        say(
            "  without authentication: all who can reach this address can upload, read and delete",
            err=True,
        )


setting_options(serve)
