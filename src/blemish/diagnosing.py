"""``blemish diagnose``: what a finished run knows about how its photos match each other, in words, numbers, pictures.

The numbers were taken during the scan, when all distances were there; here they are read, printed and drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.diagnostics import Diagnosis
from blemish.errors import InputError, OutputError
from blemish.family_facts import family_of
from blemish.paths import RUN_DIAGNOSIS, RUN_PLOTS
from blemish.result import Family
from blemish.run_folder import of_volumes, read_manifest, require_compared
from blemish.sinks.families import read as read_families

__all__ = ["RunDiagnosis", "diagnose"]

QUANTITY = {
    "auto": "distance from the other photos, in units of its fence",
    "published": "density, in units of the fence",
}


@dataclass(frozen=True)
class RunDiagnosis:
    """``communities``: size, density, strength, what that had to exceed and whether accepted, of everything that was
    weighed; ``links``: photo, photo, weight; ``pictures``: those that were drawn."""

    diagnosis: Diagnosis
    rule: str
    paths: tuple[str, ...]
    communities: tuple[dict[str, Any], ...]
    links: tuple[tuple[int, int, float], ...]
    families: tuple[Family, ...]
    unit: str = "photo"  # what one is called
    pictures: tuple[Path, ...] = ()

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and value of every number worth printing."""
        found = self.diagnosis
        yield f"{self.unit}s", str(found.photos)
        yield f"tokens a {self.unit}", f"{found.tokens} ({found.sampled} of all were looked at)"
        yield "reference rank", str(found.omega)
        if found.power_law:
            law = found.power_law
            yield "scaling exponent", f"{law.exponent:.3f} (theory -1), R^2 {law.r2:.3f}, ranks {law.first}-{law.last}"
        if found.plateau:
            plateau = found.plateau
            yield "tail index", f"{plateau.alpha:.2f} (Hill plateau, k = {plateau.first} to {plateau.last})"
        elif found.alpha is not None:
            yield "tail index", f"{found.alpha:.2f} (no Hill plateau)"
        if found.burn_out:
            burn = found.burn_out
            yield "burnt-out tokens", f"{burn.share:.2%} (chance {burn.chance:.0%}), most often after {burn.most_often}"
        if found.smallest_batch:
            yield "smallest batch", f"{found.smallest_batch} {self.unit}s still follow the law"
        yield "communities", f"{len(self.communities)} weighed, {len(self.families)} families"

    def family_of_photos(self) -> npt.NDArray[np.intp]:
        """(B,) number of the family of each photo, 0 for none."""
        numbers = family_of(self.families)
        return np.array([numbers.get(path, 0) for path in self.paths], dtype=np.intp)

    def weights(self) -> npt.NDArray[np.float64]:
        """(B, B) symmetric weights of the links."""
        weights = np.zeros((len(self.paths), len(self.paths)))
        for a, b, weight in self.links:
            weights[a, b] = weights[b, a] = weight
        return weights

    def as_dict(self) -> dict[str, Any]:
        return {**self.diagnosis.as_dict(), "communities": list(self.communities), "families": len(self.families)}


def diagnose(run: str | Path, *, plots: bool = False) -> RunDiagnosis:
    """The diagnosis of a finished run; with ``plots`` also drawn into its folder ``diagnosis/``.

    Raises ``InputError`` if ``run`` is none or was scanned with families off, ``BackboneError`` with the pip line if
    plots are asked for without matplotlib, ``OutputError`` if they cannot be written."""
    run = Path(run).expanduser().resolve()
    manifest = read_manifest(run)
    require_compared(manifest, run, "diagnosed")
    file = run / RUN_DIAGNOSIS
    if manifest["config"].get("families", {}).get("rule") == "off":
        raise InputError(f"{run.name!r} was scanned with --families off, which takes no diagnosis. Scan without it.")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        found = RunDiagnosis(
            diagnosis=Diagnosis.from_dict(values),
            rule=values["rule"],
            paths=tuple(values["paths"]),
            communities=tuple(values["communities"]),
            links=tuple((a, b, weight) for a, b, weight in values["links"]),
            families=read_families(run / "families.json"),
            unit="volume" if of_volumes(manifest) else "photo",
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"Cannot read {str(file)!r} ({error}). Scan again.") from error
    return _drawn(found, run) if plots else found


def _drawn(found: RunDiagnosis, run: Path) -> RunDiagnosis:
    from blemish.diagnostics import family_plots, plots

    folder = run / RUN_PLOTS
    try:
        folder.mkdir(exist_ok=True)
        pictures = []
        for name, draw in (
            ("scaling", plots.scaling_plot),
            ("hill", plots.hill_plot),
            ("burn-out", plots.burn_out_plot),
            ("endurance", plots.endurance_plot),
        ):
            draw(found.diagnosis, folder / f"{name}.png")
            pictures.append(folder / f"{name}.png")
        if found.communities:
            family_plots.community_plot(
                [community["strength"] / (community["fence"] or np.inf) for community in found.communities],
                [community["size"] for community in found.communities],
                [community["accepted"] for community in found.communities],
                1.0,
                QUANTITY[found.rule],
                folder / "communities.png",
            )
            pictures.append(folder / "communities.png")
        if found.links:
            labels = found.family_of_photos()
            family_plots.graph_plot(
                found.weights(), labels.tolist(), set(labels[labels > 0].tolist()), folder / "graph.png"
            )
            pictures.append(folder / "graph.png")
    except OSError as error:
        raise OutputError(f"Cannot write pictures to {str(folder)!r}: {error.strerror}.") from error
    return replace(found, pictures=tuple(pictures))
