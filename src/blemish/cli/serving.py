"""``blemish serve``: options become the service's settings, and it runs until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blemish.errors import BackboneError

__all__ = ["serve"]


def serve(
    data: Annotated[
        Path, typer.Option(help="Where uploads, runs and detectors are kept; it is made if it is not there.")
    ] = Path("blemish-data"),
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Beyond this machine only with --token-file.")] = "127.0.0.1",
    root: Annotated[
        list[Path] | None, typer.Option(help="A folder of this machine that may be scanned; again for more.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file whose first line is the token that everybody has to show.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="BLEMISH_DATABASE",  # a password on the command line is seen by everybody on the machine
            help="postgresql://USER:PASSWORD@HOST/NAME; default: a file in --data.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name under which the service is reached; again for more.")
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Most memory that a scan may use, e.g. 2GiB.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of a scan; default: all cores.")] = None,
    max_upload: Annotated[str, typer.Option(help="Most bytes of one request, e.g. 2GiB.")] = "2GiB",
    max_dataset: Annotated[str, typer.Option(help="Most bytes of a data set, e.g. 50GiB.")] = "50GiB",
    max_files: Annotated[int, typer.Option(help="Most files of a data set.")] = 20_000,
    max_file: Annotated[str, typer.Option(help="Most bytes of one file, also of an archive's.")] = "512MiB",
    max_pixels: Annotated[int, typer.Option(help="Most pixels of a photo.")] = 178_956_970,
    max_ratio: Annotated[float, typer.Option(help="Most that a file of an archive may have been packed by.")] = 200.0,
    max_body: Annotated[str, typer.Option(help="Most bytes of a request that is no upload.")] = "1MiB",
    rate: Annotated[float, typer.Option(help="Requests a second that one address may send; 0: any.")] = 200.0,
    changes: Annotated[float, typer.Option(help="Of these, requests that change something; 0: any.")] = 20.0,
    logins: Annotated[
        float, typer.Option(help="Wrong tokens a second at /login that one address may send; 0: any.")
    ] = 0.2,
) -> None:
    """Open the pages on which photos are scanned and decided about, and the same for programs (REST)."""
    from blemish.config import parse_bytes

    try:
        from blemish.service.serving import serve as serve_until_stopped
        from blemish.service.settings import Limits, ServiceConfig, read_token
    except ModuleNotFoundError as error:
        raise BackboneError(f"The service needs {error.name}: pip install 'blemish[serve]'") from error
    serve_until_stopped(
        ServiceConfig(
            data=data,
            host=host,
            port=port,
            roots=tuple(root or ()),
            hosts=tuple(allow_host or ()),
            token=read_token(token_file) if token_file else None,
            database=database,
            memory=parse_bytes(memory) if memory else None,
            threads=threads,
            limits=Limits(
                upload=parse_bytes(max_upload),
                dataset=parse_bytes(max_dataset),
                files=max_files,
                file=parse_bytes(max_file),
                pixels=max_pixels,
                ratio=max_ratio,
                body=parse_bytes(max_body),
                rate=rate,
                changes=changes,
                logins=logins,
            ),
        )
    )
