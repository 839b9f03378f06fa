"""What `refruntime compare` found, as one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from refruntime.fidelity.passes import Fidelity
from refruntime.show.page.pieces import bar, code, command, page, paragraph, section, table, text

HEIGHT: Final = 60.0


def compare_page(fidelity: Fidelity, about: Mapping[str, Any], words: str, version: str) -> bytes:
    """Return the page: what the divergence means, its size at each position, the worst tensor of each layer."""
    found = fidelity.divergence
    rows = [("KL divergence A to B, mean", f"{found.mean:.3g} nats")]
    rows += [(f"{percent} % of positions below", f"{value:.3g}") for percent, value in found.percentiles.items()]
    rows += [
        (f"largest, at position {found.worst}", f"{float(found.kl.max()):.3g}"),
        ("same best token", f"{found.same_top.mean():.2%}"),
        ("largest difference of a logit", f"{found.largest_difference:.3g}"),
    ]
    facts = [("A", code(about["first"])), ("B", code(about["second"]))]
    facts += [("numerics", text(about["numerics"])), ("profile", text(about["profile"]))]
    facts.append(("tool", text(f"refruntime {version}")))
    parts = [
        "<h1>How far two models lie apart</h1>",
        paragraph(found.band),
        section("Divergence", table(("measure", "value"), [(text(a), text(b)) for a, b in rows], (1,))),
        section("Position by position", _positions(fidelity)),
        section("Layer by layer", _layers(fidelity)),
        section("What was not compared, and why", paragraph(_rest(about))),
        section("Where this comes from", table(("", ""), facts)),
        section("Commands that repeat it", command(words)),
    ]
    return page("How far two models lie apart", parts)


def _positions(fidelity: Fidelity) -> str:
    """Return the divergence of every position as a bar; those with another best token stand out."""
    kl, same = fidelity.divergence.kl, fidelity.divergence.same_top
    top = float(np.nanmax(kl)) if np.isfinite(kl).any() else 0.0
    bars = []
    for place, (value, alike) in enumerate(zip(kl, same, strict=True)):
        height = HEIGHT * float(value) / top if top > 0 and np.isfinite(value) else 0.0
        colour = "var(--nothing)" if alike else "var(--wrong)"
        height = max(height, 0.6)
        bars.append(
            f'<rect x="{place + 0.1}" y="{HEIGHT - height:.2f}" width=".8" height="{height:.2f}" fill="{colour}"/>'
        )
    label = f"KL divergence at {kl.size} positions, at most {top:.3g} nats"
    picture = (
        f'<svg viewBox="0 0 {kl.size} {HEIGHT:g}" preserveAspectRatio="none" width="100%" height="90" role="img" '
        f'aria-label="{text(label)}">{"".join(bars)}</svg>'
    )
    other = int((~same).sum())
    return picture + paragraph(f"{label}. Red: another token is the best ({other} positions).", "quiet")


def _layers(fidelity: Fidelity) -> str:
    layers = sorted(fidelity.layers.items())
    most = max((error.mean for _, error in layers if np.isfinite(error.mean)), default=0.0)
    rows = [
        (
            str(layer),
            code(error.name.partition(f"blk.{layer}.")[2]),
            f"{error.mean:.3g}",
            f"{error.largest:.3g}",
            bar([("unsure", error.mean, f"mean {error.mean:.3g}")], most),
        )
        for layer, error in layers
    ]
    if not rows:
        return ""
    said = (
        "Relative error |a - b| / |a| of a position, in the Euclidean norm, of the tensor whose mean error is largest."
    )
    return table(("layer", "tensor", "mean", "largest", ""), rows, (0, 2, 3)) + paragraph(said, "quiet")


def _rest(about: Mapping[str, Any]) -> str:
    left = about["tokens"] - about["compared"]
    if not left:
        return f"All {about['compared']} tokens were compared."
    return f"{left} of {about['tokens']} tokens: --positions or a model's capacity ends the comparison."
