"""What a variation may override is public: a private name of another room can go without anybody noticing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import refruntime


def classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(refruntime.__path__, "refruntime."):
        if module.name.endswith("__main__"):
            continue
        for found in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(found) and found.__module__ == module.name:
                yield found


def room(owner: type) -> str:
    return owner.__module__.split(".")[1] if owner.__module__.startswith("refruntime.") else ""


def overridden(owner: type) -> set[str]:
    """Return the private names that a class defines anew although a class of another room of the package has them."""
    own = {name for name, value in vars(owner).items() if name[0] == "_" and name[:2] != "__" and _is_ours(value)}
    others = [base for base in owner.__mro__[1:] if room(base) not in ("", room(owner))]
    return {name for name in own for base in others if name in vars(base)}


def _is_ours(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)


def test_no_private_name_of_another_room_is_overridden() -> None:
    """A fault overrode `_byte_token` of a tokenizer, which had become `_byte_tokens`: it was no fault any more."""
    found = {f"{owner.__module__}.{owner.__qualname__}": names for owner in classes() if (names := overridden(owner))}
    assert not found


def test_the_check_sees_them() -> None:
    """A class of a test that overrides a private method of the runtime is one, and one that overrides `take` is not."""
    from refruntime.runtime import Machine, Runtime

    wrong = type("Wrong", (Runtime,), {"_take": lambda self: None, "__module__": "refruntime.hypotheses.test"})
    right = type("Right", (Machine,), {"take": lambda self: None, "__module__": "refruntime.hypotheses.test"})
    assert (overridden(wrong), overridden(right)) == ({"_take"}, set())
