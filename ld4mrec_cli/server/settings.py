"""Settings of the server: limits, who may ask, and where pictures lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ld4mrec_cli.utils.errors import UserError

TOKEN_VARIABLE = "LD4MREC_TOKEN"  # noqa: S105 - the name of the variable
MIN_TOKEN_LENGTH = 16
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of this machine."""
HINT = "Make one with `openssl rand -hex 32`"


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and what all of them together may hold."""

    max_k: int = 200
    """Items of a list."""
    max_lists: int = 256
    """Users and histories of a request."""
    max_reasons: int = 20
    """Reasons of an entry."""
    max_body: int = 1 << 20
    """Bytes of the body of a request."""
    timeout: float = 10.0
    """Seconds for a body to arrive, and for an answer to be computed."""
    workers: int = 2
    """Requests that are computed at the same time."""
    max_waiting: int = 64
    """Requests that wait for a worker; further ones get 503."""


@dataclass(frozen=True)
class ServerSettings:
    """All settings of :func:`ld4mrec_cli.server.app.create_app`."""

    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    """Bearer token that requests for data must carry; None: anyone may ask."""
    hosts: Sequence[str] | None = None
    """Values of the Host header that are answered, without port; None: all."""
    images: Path | None = None
    """Folder of pictures, see :mod:`ld4mrec_cli.server.pictures`."""
    reload_seconds: float = 2.0
    """Seconds between two looks for a newer run; 0: never."""


def read_token(path: Path | None) -> str | None:
    """The token of a file or of the environment; None where neither is given.

    Raises:
        UserError: the file cannot be read, or the token is short or no plain text.
    """
    if path is None:
        text = os.environ.get(TOKEN_VARIABLE)
        if text is None:
            return None
        where: Path | str = TOKEN_VARIABLE
    else:
        where = path
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError("no such file", where=path, hint=HINT) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UserError(f"cannot be read ({reason})", where=path) from None
    token = text.strip()
    if len(token) < MIN_TOKEN_LENGTH:
        what = f"the token has {len(token)} characters, fewer than {MIN_TOKEN_LENGTH}"
        raise UserError(what, where=where, hint=HINT)
    if not (token.isascii() and token.isprintable()) or " " in token:
        what = "the token has characters that no HTTP header may have"
        raise UserError(what, where=where, hint=HINT)
    return token


def allowed_hosts(host: str, token: str | None, further: Sequence[str]) -> list[str] | None:
    """Values of the Host header that are answered; None: all.

    A page of another site can make a browser ask 127.0.0.1 under a name of its own (DNS
    rebinding), and then reads the answer. A token keeps it out, and so does this check.
    """
    if further:
        return [*LOOPBACK, host, *further]
    return list(LOOPBACK) if token is None and host in LOOPBACK else None
