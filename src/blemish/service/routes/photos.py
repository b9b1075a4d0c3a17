"""Photos of a finished run: rows for the grid, one in detail, its pictures, and a person's word about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Query, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from blemish.errors import InputError
from blemish.family_facts import excluded
from blemish.result import Photo as PhotoFacts
from blemish.reviewing import review
from blemish.service import asking, findings
from blemish.service.names import attachment
from blemish.service.pictures import heat_png, kept_picture, picture
from blemish.service.shelf import RunView
from blemish.service.state import Id, Photo, ServiceOf, Who, missing
from blemish.service.volumes import hottest_mm, small_copies
from blemish.sinks.names import beside

__all__ = ["router"]

MOST = 5000  # rows of one answer

router = APIRouter(prefix="/api/runs/{run}/photos", tags=["photos"])


@router.get("", response_model=findings.PhotosPage)
async def photos(
    run: Id,
    service: ServiceOf,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 200,
    verdict: Literal["ok", "blemished", "unsure", "unreadable"] | None = None,
    family: Annotated[int | None, Query(ge=1, le=100_000)] = None,
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Most anomalous first, unreadable ones last. ``q``: a part of the path, whatever its case."""
    view = await service.view(run)
    chosen = _chosen(view, verdict, family, q)
    rows = b",".join(view.encoded[at] for at in chosen[offset : offset + limit])
    body = b'{"revision":"%s","total":%d,"rows":[%s]}' % (view.revision.encode(), len(chosen), rows)
    return Response(body, media_type="application/json")


@router.get("/{pid}", response_model=findings.PhotoDetail)
async def photo(run: Id, pid: Photo, service: ServiceOf) -> Any:
    """One photo with its places and what these were nearest to."""
    view = await service.view(run)
    return await run_in_threadpool(_detail, view, _known(view, pid))


@router.put("/{pid}/said", response_model=findings.PhotoDetail)
async def say(run: Id, pid: Photo, asked: asking.Said, service: ServiceOf, who: Who) -> Any:
    """Say that the photo is good or a defect, or take back what was said (null). It is judged again at once; the other
    photos' calls and the threshold stay."""
    path = _known(await service.view(run), pid).path

    async def act(folder: Path) -> None:
        await run_in_threadpool(review, folder, {path: asked.call})

    await service.change(run, who, "reviewed photo", {"photo": path, "is": asked.call}, act)
    view = await service.view(run)
    return await run_in_threadpool(_detail, view, _known(view, pid))


@router.get("/{pid}/picture", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
async def picture_of(
    run: Id, pid: Photo, service: ServiceOf, longest: asking.Longest = asking.Longest.LARGE
) -> Response:
    """The photo as it was seen, upright, its longest side at most this many pixels; of a volume three slices."""
    view = await service.view(run)
    path = _known(view, pid).path
    wanted = (view, path, longest, service.config.readable, service.workspace.pictures(run))
    data = await run_in_threadpool(_found, kept_picture, *wanted)
    if data is None:
        data = await to_thread.run_sync(_found, picture, *wanted, limiter=service.decoding)
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.get("/{pid}/heat", response_class=Response, responses={200: {"content": {"image/png": {}}}})
async def heat_of(
    run: Id,
    pid: Photo,
    service: ServiceOf,
    v: Annotated[str, Query(max_length=80, description="the run's revision; with it the answer may be kept")] = "",
) -> Response:
    """Its anomaly map in the run's one colour scale, RGBA, two pixels a token, to be laid over the photo."""
    view = await service.view(run)
    path = _scored(view, pid).path
    kept = {"cache-control": "private, max-age=3600"} if v == view.revision else None
    return Response(await run_in_threadpool(_found, heat_png, view, path), media_type="image/png", headers=kept)


@router.get("/{pid}/map", response_class=FileResponse, responses={200: {"content": {"image/tiff": {}}}})
async def map_of(run: Id, pid: Photo, service: ServiceOf) -> FileResponse:
    """Its anomaly map as float32 TIFF, values as scored."""
    view = await service.view(run)
    return _file(view, _scored(view, pid).path, "maps", ".tif", "image/tiff")


@router.get("/{pid}/mask", response_class=FileResponse, responses={200: {"content": {"image/png": {}}}})
async def mask_of(run: Id, pid: Photo, service: ServiceOf) -> FileResponse:
    """255 where it is blemished, at its own size; only photos that are not ok have one."""
    view = await service.view(run)
    return _file(view, _scored(view, pid).path, "masks", ".png", "image/png")


@router.get("/{pid}/volume.nii.gz", response_class=Response, responses={200: {"content": {"application/gzip": {}}}})
async def volume_of(run: Id, pid: Photo, service: ServiceOf) -> Response:
    """A small 8-bit copy of a volume, for a viewer."""
    view = await service.view(run)
    found = _scored(view, pid).path
    copies = await to_thread.run_sync(_found, small_copies, view, found, limiter=service.decoding)
    return Response(copies[0], media_type="application/gzip")


@router.get("/{pid}/volume-map.nii.gz", response_class=Response, responses={200: {"content": {"application/gzip": {}}}})
async def volume_map_of(run: Id, pid: Photo, service: ServiceOf) -> Response:
    """Its anomaly map, 0 to 255 in the run's one colour scale."""
    view = await service.view(run)
    found = _scored(view, pid).path
    copies = await to_thread.run_sync(_found, small_copies, view, found, limiter=service.decoding)
    return Response(copies[1], media_type="application/gzip")


def _found(make: Callable[..., Any], *arguments: Any) -> Any:
    """404 instead of 400: what was asked for is not there."""
    try:
        return make(*arguments)
    except InputError as error:
        raise HTTPException(404, str(error)) from error


def _chosen(view: RunView, verdict: str | None, family: int | None, q: str) -> range | list[int]:
    """Rows that fit."""
    if verdict is None and family is None and not q:
        return range(len(view.rows))
    wanted = q.casefold()
    return [
        at
        for at, row in enumerate(view.rows)
        if (verdict is None or verdict == (row["verdict"] if row["status"] == "ok" else "unreadable"))
        and (family is None or family in view.families_of.get(row["path"], ()))
        and wanted in row["path"].casefold()
    ]


def _known(view: RunView, pid: int) -> PhotoFacts:
    found = view.photo(pid)
    if found is None:
        raise missing("photo", str(pid))
    return found


def _scored(view: RunView, pid: int) -> PhotoFacts:
    found = _known(view, pid)
    if found.status != "ok":
        raise HTTPException(404, f"{found.path!r} was not scored: {found.reason}.")
    return found


def _detail(view: RunView, found: PhotoFacts) -> dict[str, Any]:
    row = view.rows[view.at[found.path]]
    result = view.result
    nearest, why = _nearest(view, found)
    kept = tuple((view.folder / name).is_dir() for name in ("maps", "masks"))
    return {
        **row,
        "revision": view.revision,
        "found": [_plain(region) for region in result.regions.get(found.path, ())],
        "lesions": [_plain(lesion) for lesion in result.lesions.get(found.path, ())],
        "families": list(view.families_of.get(found.path, ())),
        "nearest": nearest,
        "nearest_missing": why,
        "peak_mm": hottest_mm(view, found.path) if view.kind == "volumes" and found.status == "ok" else None,
        "has_map": found.status == "ok" and kept[0] and view.kind == "photos",
        "has_mask": kept[1] and found.verdict in ("blemished", "unsure"),
    }


def _plain(place: Any) -> dict[str, Any]:
    return {name: getattr(place, name) for name in place.__slots__}


def _nearest(view: RunView, found: PhotoFacts) -> tuple[list[dict[str, Any]], str]:
    """References of the hottest places, or why there are none."""
    if found.status != "ok":
        return [], "It was not scored."
    if view.kind == "volumes":
        return [], "Of volumes it is not kept what they were nearest to."
    if view.result.manifest["resolved"].get("told"):
        return [], "It was compared with words, not with other photos."
    near = view.nearest
    row = near.paths.index(found.path) if near and found.path in near.paths else None
    if near is None or row is None:
        return [], "The run was made by an older version. Scan the photos again to see what they were compared with."
    shunned = {view.result.families[at].number for at in excluded(view.result.families)}
    own = shunned & set(view.families_of.get(found.path, ()))
    references = []
    for place in range(near.token.shape[1]):
        for other in range(near.photo.shape[2]):
            number = int(near.photo[row, place, other])
            if number < 0:
                continue
            path = near.paths[number]
            references.append(
                {
                    "pid": view.pids[path],
                    "path": path,
                    "distance": float(near.distance[row, place, other]),
                    "box": _box(int(near.token[row, place]), near.grid),
                    "box_there": _box(int(near.there[row, place, other]), near.grid),
                    "counts": not own & set(view.families_of.get(path, ())),
                }
            )
    return references, ""


def _box(token: int, grid: tuple[int, int]) -> dict[str, float]:
    y, x = divmod(token, grid[1])
    return {"left": x / grid[1], "top": y / grid[0], "right": (x + 1) / grid[1], "bottom": (y + 1) / grid[0]}


def _file(view: RunView, path: str, folder: str, suffix: str, media: str) -> FileResponse:
    file = beside(view.folder / folder, path, suffix)
    if not file.is_file():
        raise HTTPException(404, f"{path!r} has no file in the run's {folder}.")
    name = attachment(f"{Path(path).name}{suffix}")
    return FileResponse(file, media_type=media, headers={"content-disposition": name})
