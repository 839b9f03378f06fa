"""The sampler's choice as bars: candidates as wide as their weights, and where the coin fell."""

from __future__ import annotations

from refruntime.differential.choice import SeenChoice
from refruntime.show.page.pieces import bar, code, paragraph, text
from refruntime.visible import visible


def choice_bars(seen: SeenChoice) -> str:
    """Return one choice of the oracle beside the token of the build."""
    where = f"Step {seen.step}, generated token {seen.number}: the oracle takes token {seen.token}"
    if seen.build_token is not None:
        same = "the same" if seen.build_token == seen.token else f"token {seen.build_token}"
        where += f", the build {same}"
    parts = [paragraph(f"{where}.")]
    if seen.reason:
        parts.append(paragraph(f"No coin is thrown: {seen.reason}."))
    if not seen.candidates:
        return "\n".join(parts)
    greatest = max((each.weight or 0.0) for each in seen.candidates)
    if seen.mass is not None and seen.point is not None:
        parts.append(
            paragraph(f"The coin {seen.unit:.9g} of the mass {seen.mass:.9g} is the point {seen.point:.9g}.", "number")
        )
        parts.append(_line(seen))
    rows = []
    for each in seen.candidates:
        kind = "fine" if each.token == seen.token else "wrong" if each.token == seen.build_token else "nothing"
        fate = {"fine": "oracle", "wrong": "build"}.get(kind, "" if each.kept else "cut")
        weight = each.weight or 0.0
        number = f"{each.logit:.9g}" if each.weight is None else f"{weight:.6g}"
        rows.append(
            f'<span class="number">{each.token}</span><span>{code(visible(each.text))}</span>'
            f"{bar([(kind, weight, f'weight {weight:.6g}')], greatest)}"
            f'<span class="number {kind}">{text(number)} {fate}</span>'
        )
    parts.append(f'<div class="steps">{chr(10).join(rows)}</div>')
    if seen.build_token is not None and all(each.token != seen.build_token for each in seen.candidates):
        parts.append(paragraph(f"Token {seen.build_token} of the build is not among the retained ones.", "wrong"))
    hidden = seen.retained - len(seen.candidates)
    if hidden > 0:
        parts.append(paragraph(f"{hidden} more candidates are retained.", "quiet"))
    return "\n".join(parts)


def _line(seen: SeenChoice) -> str:
    """Return the kept candidates side by side, as wide as their weights, with a mark where the coin fell."""
    if not seen.mass or seen.point is None:
        return ""
    left, rectangles = 0.0, []
    kept = [each for each in seen.candidates if each.kept and each.weight is not None]
    for place, each in enumerate(kept):
        width = 100 * (each.weight or 0.0) / seen.mass
        chosen = each.token == seen.token
        colour = "var(--fine)" if chosen else "var(--nothing)"
        strength = 0.9 if chosen else 0.25 if place % 2 else 0.45
        rectangles.append(
            f'<rect x="{left:.4f}" y="2" width="{width:.4f}" height="8" fill="{colour}" fill-opacity="{strength}"/>'
        )
        left += width
    at = 100 * seen.point / seen.mass
    mark = f'<rect x="{min(at, 99.6):.4f}" y="0" width=".4" height="12" fill="var(--wrong)"/>'
    label = f"the coin fell {at:.3g} % along the kept candidates"
    return (
        f'<svg viewBox="0 0 100 12" preserveAspectRatio="none" width="100%" height="24" role="img" '
        f'aria-label="{text(label)}">{"".join(rectangles)}{mark}</svg>'
    )
