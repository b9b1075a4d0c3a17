"""The page on which a browser shows the token, and the session that it gets for it. Programs send the token itself."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from blemish.service.guard import COOKIE, SESSION_S, Rate, session
from blemish.service.state import ServiceOf

__all__ = ["router"]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>blemish: sign in</title><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/look.css"><link rel="stylesheet" href="/app.css">
</head>
<body class="app">
<main class="login">
<h1 class="short">blemish</h1>
<form method="post" action="/login">
<p>{words}</p>
<p class="row">
<label>Token <input type="password" name="token" autocomplete="current-password" required autofocus></label>
<button class="primary">Sign in</button></p>
</form>
</main>
</body>
</html>
"""
ASK = "Whoever started this service has its token."
WRONG = "That is not the token of this service."
OFTEN = "Too many wrong tokens from this address. Wait a minute and try again."

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def page() -> HTMLResponse:
    return HTMLResponse(PAGE.format(words=ASK))


@router.post("/login")
async def sign_in(request: Request, service: ServiceOf, token: Annotated[str, Form(max_length=1000)] = "") -> Response:
    wrong: Rate = request.app.state.wrong_logins
    client = request.client.host if request.client else ""
    if not wrong.allows(client, cost=0):
        return HTMLResponse(PAGE.format(words=OFTEN), status_code=429)
    known = service.config.token or ""
    if known and not hmac.compare_digest(token.strip().encode("utf-8", "surrogatepass"), known.encode()):
        wrong.allows(client)
        return HTMLResponse(PAGE.format(words=WRONG), status_code=401)
    answer = RedirectResponse("/", status_code=303)
    if known:
        # behind a proxy that speaks TLS only the browser knows; the guard has matched the name in its Origin with ours
        secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https:")
        answer.set_cookie(
            COOKIE, session(known), max_age=int(SESSION_S), httponly=True, samesite="strict", secure=secure, path="/"
        )
    return answer


@router.post("/logout")
async def sign_out() -> Response:
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer
