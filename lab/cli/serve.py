"""``lab serve``: the dashboards in the browser, with every way to open them to others."""

from __future__ import annotations

from typing import Annotated

import typer

_REACH, _LOGIN, _LIMITS = "Reach", "Login", "Limits"


def serve(
    name: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A run: its page opens with the run's parameters and results.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 5006,
    show: Annotated[bool, typer.Option("--show", help="Open a browser.")] = False,
    jobs: Annotated[
        bool | None,
        typer.Option(
            "--jobs/--no-jobs", help="Visitors may run notebooks; by default on this machine alone, or after a login."
        ),
    ] = None,
    notebooks: Annotated[
        str, typer.Option(metavar="DIR", help="Notebooks that may be run, instead of the project's own.")
    ] = "",
    address: Annotated[
        str, typer.Option(help="Address to listen on; 127.0.0.1 means this machine only.", rich_help_panel=_REACH)
    ] = "127.0.0.1",
    allow_websocket_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST[:PORT]", help="A host whose pages may connect; repeatable.", rich_help_panel=_REACH),
    ] = None,
    open_to_anyone: Annotated[
        bool,
        typer.Option(
            "--open-to-anyone", help="Serve beyond this machine without requiring a login.", rich_help_panel=_REACH
        ),
    ] = False,
    prefix: Annotated[
        str, typer.Option(help="URL prefix under which a reverse proxy forwards requests.", rich_help_panel=_REACH)
    ] = "",
    use_xheaders: Annotated[
        bool,
        typer.Option("--use-xheaders", help="Trust the proxy's X-Real-Ip and X-Scheme.", rich_help_panel=_REACH),
    ] = False,
    num_procs: Annotated[
        int,
        typer.Option(min=1, max=64, help="Server processes; a visitor stays with one of them.", rich_help_panel=_REACH),
    ] = 1,
    basic_auth: Annotated[
        str,
        typer.Option(
            metavar="PASSWORD|FILE",
            envvar="LAB_BASIC_AUTH",
            rich_help_panel=_LOGIN,
            help="A password, or a JSON file of users and passwords.",
        ),
    ] = "",
    cookie_secret: Annotated[
        str,
        typer.Option(
            envvar="LAB_COOKIE_SECRET",
            rich_help_panel=_LOGIN,
            help="Signs cookies, needed for a login: any long random text that stays the same.",
        ),
    ] = "",
    oauth_provider: Annotated[
        str, typer.Option(help="github, google, azure, gitlab, okta, auth0, generic, ...", rich_help_panel=_LOGIN)
    ] = "",
    oauth_key: Annotated[
        str, typer.Option(envvar="LAB_OAUTH_KEY", help="As issued by the provider.", rich_help_panel=_LOGIN)
    ] = "",
    oauth_secret: Annotated[
        str, typer.Option(envvar="LAB_OAUTH_SECRET", help="As issued by the provider.", rich_help_panel=_LOGIN)
    ] = "",
    oauth_redirect_uri: Annotated[
        str, typer.Option(help="Where the provider sends visitors back to.", rich_help_panel=_LOGIN)
    ] = "",
    oauth_encryption_key: Annotated[
        str,
        typer.Option(
            envvar="LAB_OAUTH_ENCRYPTION_KEY", help="Encrypts the provider's tokens in cookies.", rich_help_panel=_LOGIN
        ),
    ] = "",
    max_sessions: Annotated[
        int, typer.Option(min=1, help="Maximum number of concurrent visitors.", rich_help_panel=_LIMITS)
    ] = 200,
    session_seconds: Annotated[
        float, typer.Option(min=1, help="How long a session is kept after its tab is closed.", rich_help_panel=_LIMITS)
    ] = 15.0,
    token_seconds: Annotated[
        int, typer.Option(min=10, help="How long a page may take to connect.", rich_help_panel=_LIMITS)
    ] = 600,
) -> None:
    """Serve the dashboards, or the page of one run, in the browser.

    GET /health says how the server is. Behind nginx, with --prefix /lab --use-xheaders --allow-websocket-origin
    lab.example.org:

    location /lab/ { proxy_pass http://127.0.0.1:5006; proxy_http_version 1.1; proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_read_timeout 3600s; }
    """
    from lab.cli.ports import free_port
    from lab.report.store.layout import Store
    from widgets.server import serve as serving

    run = Store().find(name).id if name else ""
    free_port(address, port)
    serving.serve(
        serving.Options(
            run=run, port=port, address=address, allow_websocket_origin=tuple(allow_websocket_origin or ()), prefix=prefix,
            use_xheaders=use_xheaders, num_procs=num_procs, basic_auth=basic_auth, oauth_provider=oauth_provider,
            oauth_key=oauth_key, oauth_secret=oauth_secret, oauth_redirect_uri=oauth_redirect_uri,
            oauth_encryption_key=oauth_encryption_key, cookie_secret=cookie_secret, max_sessions=max_sessions,
            session_seconds=session_seconds, token_seconds=token_seconds,
            open_to_anyone=open_to_anyone, jobs=jobs, notebooks=notebooks, show=show,
        )
    )  # fmt: skip
