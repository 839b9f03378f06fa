"""Orders of sums against sums that are written out here, one float32 at a time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from refruntime.numerics.varied import SumOrder, sum_orders

Float32 = NDArray[np.float32]
Terms = list[np.float32]
ZERO = np.float32(0)


def _products(seed: int, count: int) -> tuple[Float32, Float32]:
    numbers = np.random.Generator(np.random.PCG64(seed))
    return numbers.normal(size=count).astype(np.float32), numbers.normal(size=count).astype(np.float32)


def _add(terms: Terms, start: np.float32 = ZERO) -> np.float32:
    total = start
    for term in terms:
        total = np.float32(total + term)
    return total


def _four(t: Terms) -> Terms:
    """Return four lanes over the first eight of eleven terms."""
    return [np.float32(np.float32(ZERO + t[lane]) + t[lane + 4]) for lane in range(4)]


def _neighbours(a: Terms) -> np.float32:
    return np.float32(np.float32(a[0] + a[1]) + np.float32(a[2] + a[3]))


def _halves(a: Terms) -> np.float32:
    return np.float32(np.float32(a[0] + a[2]) + np.float32(a[1] + a[3]))


def _pairs(t: Terms) -> np.float32:
    """Add eleven terms pairwise: 5 and 6, then 2, 3 and 3, 3, then 1, 1 and 1, 2."""
    three = [np.float32(t[i] + np.float32(t[i + 1] + t[i + 2])) for i in (2, 5, 8)]
    left = np.float32(np.float32(t[0] + t[1]) + three[0])
    return np.float32(left + np.float32(three[1] + three[2]))


BY_HAND: dict[str, Callable[[Terms], np.float32]] = {
    "sequential": _add,
    "reversed": lambda t: _add(t[::-1]),
    "4 lanes, tail after, in order": lambda t: _add(t[8:], _add(_four(t))),
    "4 lanes, tail after, neighbours": lambda t: _add(t[8:], _neighbours(_four(t))),
    "4 lanes, tail after, halves": lambda t: _add(t[8:], _halves(_four(t))),
    "4 lanes, tail apart, halves": lambda t: np.float32(_halves(_four(t)) + _add(t[8:])),
    "4 lanes, tail in lanes, halves": lambda t: _halves(
        [*(np.float32(a + b) for a, b in zip(_four(t)[:3], t[8:], strict=True)), _four(t)[3]]
    ),
    "4 lanes, tail in the last lane, neighbours": lambda t: _neighbours([*_four(t)[:3], _add(t[8:], _four(t)[3])]),
    "4 lanes, tail in the first lane, neighbours": lambda t: _neighbours([_add(t[8:], _four(t)[0]), *_four(t)[1:]]),
    "4 lanes, tail before, in order": lambda t: _add(_four(t), _add(t[8:])),
    "4 lanes, front apart, halves": lambda t: np.float32(_halves(_four(t[3:])) + _add(t[:3])),
    "4 lanes, tail after, backwards": lambda t: _add(t[8:], _add(_four(t)[::-1])),
    "8 lanes, tail after, fours in order then neighbours": lambda t: _add(
        t[8:], _neighbours([np.float32(a + b) for a, b in zip(t[:4], t[4:8], strict=True)])
    ),
    "blocks of 4": lambda t: _add([_add(t[:4]), _add(t[4:8]), _add(t[8:])]),
    "groups of 4, neighbours": lambda t: _add([_neighbours(t[:4]), _neighbours(t[4:8]), *t[8:]]),
    "2 parts": lambda t: np.float32(_add(t[:5]) + _add(t[5:])),
    "pairwise": _pairs,
    "pairwise by powers of two of 8": lambda t: np.float32(_add(t[:8]) + _add(t[8:])),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_against_sums_by_hand(name: str) -> None:
    """Two hundred sums of eleven products have the bits of the sum that is written out."""
    order = SumOrder.read(name)
    different = 0
    for seed in range(200):
        left, right = _products(seed, 11)
        terms = [np.float32(a * b) for a, b in zip(left, right, strict=True)]
        expected = BY_HAND[name](terms)
        assert order.total(left[:, None], right[:, None])[0] == expected
        assert order.total(left * right) == expected
        different += bool(expected != _add(terms))
    assert name == "sequential" or different > 20  # the sums tell this order from the plain one


def _exact(number: np.floating) -> Fraction:
    return Fraction(float(number))


def _nearest(number: Fraction) -> np.float32:
    """Return the float32 nearest to a rational number; of two as near the one whose last bit is 0."""
    guess = np.float32(float(number))
    near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    return min(near, key=lambda x: (abs(_exact(x) - number), int(x.view(np.uint32)) & 1))


def test_fused_rounds_once() -> None:
    """Each step is the nearest float32 to the exact product and sum, also where float64 would round twice."""
    order, twice = SumOrder.read("sequential, fused"), SumOrder.read("sequential, fused in float64")
    for seed in range(100):
        left, right = _products(seed, 9)
        total = ZERO
        for a, b in zip(left, right, strict=True):
            total = _nearest(_exact(a) * _exact(b) + _exact(total))
        assert order.total(left[:, None], right[:, None])[0] == total
    # 1 + 2^-24 + 2^-60: the exact sum is above the middle of two float32, float64 rounds it to the middle.
    left = np.array([1, 1 + 2**-23, 2**-12], np.float32)[:, None]
    factors = np.array([1, 0, 2**-12 + 2**-35], np.float32)[:, None]
    assert order.total(left, factors)[0] == np.float32(1 + 2**-23)
    left = np.array([1, 2**-30 + 2**-53], np.float32)[:, None]
    factors = np.array([1, 2**6], np.float32)[:, None]
    assert twice.total(left, factors)[0] == order.total(left, factors)[0]


def test_float64_sums() -> None:
    """Products are exact or rounded to float32; the sum is rounded at the end."""
    for seed in range(100):
        left, right = _products(seed, 40)
        exact = rounded = 0.0
        for a, b in zip(left, right, strict=True):
            exact += float(a) * float(b)
            rounded += float(np.float32(a * b))
        assert SumOrder.read("sequential, float64").total(left[:, None], right[:, None])[0] == np.float32(exact)
        assert SumOrder.read("sequential, float64 sum").total(left[:, None], right[:, None])[0] == np.float32(rounded)


def test_numpy_order_is_numpys() -> None:
    """The order called NumPy is what NumPy does along contiguous numbers."""
    for count in (1, 7, 8, 15, 128, 129, 1000):
        terms = _products(count, count)[0]
        assert SumOrder.read("NumPy").total(terms) == np.add.reduce(terms)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 16, 17, 54, 139])
def test_every_order_adds_every_term_once(count: int) -> None:
    """Small whole numbers have one sum in every order, of every length."""
    left, right = np.arange(1, count + 1, dtype=np.float32), np.full(count, 3, np.float32)
    for order in sum_orders():
        assert order.total(left[:, None], right[:, None]) == [3 * count * (count + 1) // 2], order.name


def test_names_are_read_back() -> None:
    """Every order has one name, and more than 230 of them are tried."""
    orders = sum_orders()
    assert len(orders) >= 230
    assert len({order.name for order in orders}) == len(orders)
    assert all(SumOrder.read(order.name) == order for order in orders)
    assert SumOrder.read("8 lanes").name == "8 lanes, tail in lanes, in order"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("sideways", "sideways"),
        ("0 lanes", "0 lanes"),
        ("8 lanes, tail nowhere", "tail nowhere"),
        ("sequential, tail after", "tail after"),
        ("6 lanes, halves", "halves"),
        ("99999999999 lanes", "99999999999 lanes"),
        ("", "''"),
    ],
)
def test_unknown_names(name: str, part: str) -> None:
    """What is wrong is named."""
    with pytest.raises(ValueError, match=part):
        SumOrder.read(name)
