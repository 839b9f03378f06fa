"""Find what a build holds in the place of an array whose values are nowhere: the most alike of what was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refruntime.witness.expected import Float32
from refruntime.witness.locate import RowPlace
from refruntime.witness.presence import Presence
from refruntime.witness.recording import Int
from refruntime.witness.writes import Runs, runs

MOST_RUNS: Final = 4000
MOST_MOMENTS: Final = 256
MOST_JOINED: Final = 64
MOST_RESTS: Final = 4
CLOSE: Final = 0.1
"""Images with a smaller distance are ranked by it, others by their angle."""

AS_CLOSE: Final = 1.1
"""Of moments with nearly the same distance that counts at which least of the rest is something else."""

SHORT: Final = 8
"""Of a shorter row the last moment counts at which as many elements are alike."""

ALIKE: Final = 0.5
"""A candidate below this cosine is no image."""


@dataclass(frozen=True)
class Image:
    """What a build holds where an array should be: `values` like the expected ones, `words` of each, pause of each row.

    `distance` is the median relative difference, `cosine` that of the angle between both, with sign.
    """

    values: Float32
    words: Int
    pauses: tuple[int, ...]
    distance: float
    cosine: float


def find_image(
    presence: Presence, expected: Float32, after: int, until: int, homes: Sequence[int] = (), but: int = -1
) -> Image | None:
    """Return the closest of what was written after a pause: expected [rows, n]; None if nothing is alike.

    `homes` are words at which the whole array may begin, whatever was written there in which order; at `but` it does
    not.
    """
    written = runs(presence.log, after, until)
    bases = _bases(presence, written, expected.size)
    for home in homes:
        bases.setdefault(home, []).extend(_moments(presence, home, expected.size, after, until))
    bases.pop(but, None)
    best = _closest(presence, expected.reshape(1, -1), bases)
    if len(expected) > 1:
        by_rows = _closest(presence, expected, _bases(presence, written, expected.shape[1]))
        if by_rows is not None and (best is None or _rank(by_rows) < _rank(best)):
            best = by_rows
    return (
        None
        if best is None
        else Image(
            best.values.reshape(expected.shape),
            best.words.reshape(expected.shape),
            best.pauses,
            best.distance,
            best.cosine,
        )
    )


def planned_image(presence: Presence, expected: Float32, word: int, after: int, pause: int = -1) -> Image | None:
    """Return what a place holds after a pause: what is close, else at `pause`, else once all of it was written anew.

    None outside of what was watched.
    """
    size = expected.size
    if word < 0 or word + size > len(presence.log.first):
        return None
    best = _closest(presence, expected.reshape(1, -1), {word: _moments(presence, word, size, after, presence.pauses)})
    words = word + np.arange(size)
    if best is not None and (pause < 0 or best.distance < CLOSE):
        return replace(best, values=best.values.reshape(expected.shape), words=best.words.reshape(expected.shape))
    if pause < 0:
        changes = [presence.changes_of(np.array([each])) for each in words]
        pause = max((int(each[each > after][0]) for each in changes if (each > after).any()), default=max(after, 0))
    held = presence.value_at(words, pause).view(np.float32)
    distance, cosine = _compare(held.reshape(1, -1), expected.reshape(-1))
    shape = expected.shape
    return Image(held.reshape(shape), words.reshape(shape), (pause,), float(distance[0]), float(cosine[0]))


def in_turn_at(presence: Presence, expected: Float32, word: int, after: int) -> Image | None:
    """Return what is closest to rows [rows, n] that lie at one place in their turn; None if nothing is alike."""
    return _closest(presence, expected, {word: _moments(presence, word, expected.shape[1], after, presence.pauses)})


def cosine(found: Float32, expected: Float32) -> float:
    """Return that of the angle between two arrays as a whole."""
    return float(_compare(found.reshape(1, -1), expected.reshape(-1))[1][0])


def closest_moment(presence: Presence, row: Float32, place: RowPlace) -> int:
    """Return the pause, while what matched is there, at which a place holds what is closest to a row [n] as a whole."""
    changes = presence.changes_of(place.words)
    written = _written(presence, place)
    moments = np.unique([written, *changes[(changes > written) & (changes < place.until)].tolist()])
    if len(moments) > MOST_MOMENTS:
        moments = moments[np.linspace(0, len(moments) - 1, MOST_MOMENTS).astype(np.int64)]
    states = np.stack([presence.value_at(place.words, int(pause)) for pause in moments]).view(np.float32)
    with np.errstate(all="ignore"):
        x, t = states.astype(np.float64), row.astype(np.float64)
        far = np.abs(x - t) > 1e-2 * np.maximum(np.abs(t), 1e-3 * np.abs(t).max())
        error = np.nan_to_num(np.abs(x - t).sum(axis=1), nan=np.inf)
        count = far.sum(axis=1)
        best = int(np.lexsort((error, count))[0])
    unwritten = far[best].any() and not states[best][far[best]].any()  # zeros may be what is not written yet
    if unwritten or len(row) < SHORT:
        best = int(np.flatnonzero(count == count[best])[-1])
    return int(moments[best])


def _written(presence: Presence, place: RowPlace) -> int:
    """Return the pause at which the last word of a place was written, together with those that matched."""
    right = presence.begins_at(place.words[place.matched], place.pause)
    right = right[right >= 0]
    if not len(right) or place.matched.all():
        return place.pause
    start, end = int(right.min()), int(right.max())
    room = max(4, 4 * (end - start) // len(right))
    changes = presence.changes_of(place.words[~place.matched])
    last = end
    for change in changes[(changes >= start - room) & (changes < place.until)].tolist():
        if change > last + room:
            break
        last = max(last, change)  # a kernel that goes on writing
    return max(place.pause, last)


def _rank(image: Image) -> tuple[float, float]:
    """Return what orders images: close ones by their distance, others by their angle."""
    return (0.0, image.distance) if image.distance < CLOSE else (1.0, 1.0 - abs(image.cosine))


def _moments(presence: Presence, word: int, size: int, after: int, until: int) -> list[int]:
    """Return the pauses between two at which something changes in a place, at most so many, the first ones closest."""
    if after < 0 or word < 0 or word + size > len(presence.log.first):
        return []
    changes = presence.changes_of(word + np.arange(size))
    changes = changes[(changes > after) & (changes <= until)]
    later = changes[MOST_MOMENTS // 2 :: 16][:MOST_MOMENTS]
    return [after, *map(int, changes[: MOST_MOMENTS // 2]), *map(int, later)]  # it may stay as it was


def _closest(presence: Presence, expected: Float32, bases: dict[int, list[int]]) -> Image | None:
    """Return the closest image whose rows lie at one place one after the other, or at one place each in turn."""
    rows, size = expected.shape
    best: Image | None = None
    for base, moments in bases.items():
        ends = sorted(set(moments))
        words = base + np.arange(size)
        if base < 0 or not ends or words[-1] >= len(presence.log.first):
            continue
        states = np.stack([presence.value_at(words, end) for end in ends]).view(np.float32)  # [moments, n]
        if len(states) < rows:
            continue
        image = _in_turn(expected, states, words, ends)
        if image is not None and (best is None or _rank(image) < _rank(best)):
            best = image
    if best is None or rows > 1:
        return best
    pause = settled(presence, best.words[0], best.pauses[0])
    return replace(best, values=presence.value_at(best.words[0], pause).view(np.float32)[None], pauses=(pause,))


def settled(presence: Presence, words: Int, pause: int) -> int:
    """Return the pause at which a kernel that is writing some words at a pause has written the last of them, too."""
    begins = presence.begins_at(words, pause)
    latest = np.sort(begins)[len(words) // 2 :]
    if latest[0] < 0 or len(words) < SHORT:
        return pause
    room = max(4, 4 * int(latest[-1] - latest[0]) // len(latest))
    start = int(latest[-1])
    if pause - start > room:
        return pause  # it was written some time ago
    for begin in np.sort(begins)[::-1].tolist():
        if start - begin > room:
            break
        start = begin
    old = words[begins < start]
    next_ = [changes[changes > pause] for changes in (presence.changes_of(np.array([word])) for word in old)]
    rewritten = presence.changes_of(words[begins >= start])
    until = int(min(rewritten[rewritten > pause], default=presence.pauses))
    for change in sorted(int(changes[0]) for changes in next_ if len(changes)):
        if change > pause + room or change >= until:
            break
        pause = change
    return pause


def _bases(presence: Presence, written: Runs, size: int) -> dict[int, list[int]]:
    """Return the words at which an array of a size may begin, each with the pauses at which it was complete.

    A longer run went on into what lies behind, or was written twice: of it those pauses count behind which the words
    rested longest.
    """
    length = written.last - written.first + 1
    long = np.flatnonzero(length >= max(2, size - max(2, size // 8)))
    long = long[np.argsort(np.abs(length[long] - size), kind="stable")][:MOST_RUNS]  # those of the very size first
    found: dict[int, list[int]] = {}
    for run in np.sort(long).tolist():
        for base in {int(written.first[run]), int(written.last[run]) - size + 1}:
            found.setdefault(base, []).append(int(written.end[run]))
    for run in long[length[long] > size][:MOST_JOINED].tolist():
        for base in {int(written.first[run]), int(written.last[run]) - size + 1}:
            found[base] += _rests(presence, base, size, int(written.begin[run]), int(written.end[run]))
    return found


def _rests(presence: Presence, base: int, size: int, begin: int, end: int) -> list[int]:
    """Return the pauses between two behind which words stayed longest as they were."""
    changes = presence.changes_of(base + np.arange(size))
    changes = changes[(changes >= begin) & (changes <= end)]
    return [int(at) for at in changes[np.argsort(-np.diff(changes), kind="stable")[:MOST_RESTS]]]


def _in_turn(expected: Float32, states: Float32, words: Int, ends: list[int]) -> Image | None:
    """Choose a moment for each row, later ones for later rows: the closest each."""
    rows = len(expected)
    chosen: list[int] = []
    start = 0
    for index, row in enumerate(expected):
        stop = len(states) - (rows - 1 - index)
        distance, cosine = _compare(states[start:stop], row)
        score = np.where(distance < CLOSE, distance, 2.0 - np.abs(cosine))
        near = np.flatnonzero(score <= (AS_CLOSE if score.min() < CLOSE else 1.0) * score.min())
        chosen.append(start + int(near[np.argmax(np.abs(cosine[near]))]))
        start = chosen[-1] + 1
    values = states[chosen]  # [rows, n]
    distance, cosine = _compare(values.reshape(1, -1), expected.reshape(-1))
    if not distance[0] < CLOSE and not abs(cosine[0]) > ALIKE:
        return None
    places = np.tile(words, (rows, 1))
    return Image(values, places, tuple(ends[at] for at in chosen), float(distance[0]), float(cosine[0]))


def _compare(states: Float32, row: Float32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return median relative difference and cosine of each state [m, n] with a row [n]: [m], [m]."""
    with np.errstate(all="ignore"):
        x, t = states.astype(np.float64), row.astype(np.float64)
        size = np.maximum(np.abs(t), 1e-3 * np.abs(t).max() + 1e-300)
        distance = np.nan_to_num(np.median(np.abs(x - t) / size, axis=1), nan=np.inf)
        whole = np.nan_to_num(np.linalg.norm(x - t, axis=1) / np.linalg.norm(t), nan=np.inf)
        distance = np.where(whole < 0.5, distance, np.maximum(distance, whole))  # many small numbers are soon alike
        cosine = (x @ t) / (np.linalg.norm(x, axis=1) * np.linalg.norm(t))
    return distance, np.nan_to_num(cosine)
