"""An oracle that tells which switches of the profile its answers depend on, because it notes each one that it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from refruntime.contract.profile import Profile
from refruntime.errors import ContractError
from refruntime.identify.remembering import RememberingTransformer
from refruntime.model.binding import BoundModel, bind_model
from refruntime.model.load import Buffer
from refruntime.numerics import Numerics

SWITCHES: Final[Mapping[str, tuple[Any, ...]]] = {
    switch.attribute: switch.options for switch in Profile.switches() if switch.rule != "SL-5"
}
"""Attribute of the profile -> its options, the default first. The checksum is found apart: nothing loads without it."""

MOST_MODELS: Final = 64
"""Models that are remembered; the experiments on options have some 50, and ask for them again and again."""

Choose = Callable[[str], Any]
"""Say which option of an attribute holds; called at each read."""


class ReadingProfile(Profile):
    """A profile whose open switches are chosen when they are read; every other key has the value of `base`.

    `chosen` tells what was chosen before, without choosing. `settled` are the options of all other switches.
    """

    def __init__(self, base: Profile, choose: Choose, chosen: Mapping[str, Any], open_switches: frozenset[str]) -> None:
        put = object.__setattr__
        put(self, "_base", base)
        put(self, "_choose", choose)
        put(self, "_chosen", chosen)
        put(self, "open_switches", open_switches)
        put(self, "settled", tuple(getattr(base, name) for name in SWITCHES if name not in open_switches))

    def __getattribute__(self, name: str) -> Any:
        if name in _KEYS:
            if name in object.__getattribute__(self, "open_switches"):
                return object.__getattribute__(self, "_choose")(name)
            return getattr(object.__getattribute__(self, "_base"), name)
        return object.__getattribute__(self, name)

    def chosen(self, name: str) -> Any:
        """Return what was chosen for a switch, or is settled; None for one that was not read yet."""
        if name not in self.open_switches:
            return getattr(self._base, name)
        return self._chosen.get(name)


_KEYS: Final = frozenset(Profile.attributes().values())


def every_choice(profile: ReadingProfile, function: Callable[[Profile], Any]) -> list[tuple[Mapping[str, Any], Any]]:
    """Return the value of a function of a profile for every choice of the open switches that it reads."""
    found: list[tuple[Mapping[str, Any], Any]] = []
    open_choices: list[dict[str, Any]] = [{}]
    while open_choices:
        fixed = open_choices.pop()
        chosen = dict(fixed)

        def choose(name: str, chosen: dict[str, Any] = chosen) -> Any:
            if name not in chosen:
                first, *others = SWITCHES[name]
                open_choices.extend({**chosen, name: other} for other in others)
                chosen[name] = first
            return chosen[name]

        value = function(ReadingProfile(profile._base, choose, chosen, profile.open_switches))
        found.append((chosen, value))
    return found


class ReadingBinder:
    """Bind models and remember them with the switches that binding reads, so that the next use notes them again.

    Those that were not used for longest are forgotten: most files of the battery are asked for once.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, Numerics], list[tuple[dict[str, Any], BoundModel | ContractError]]] = {}

    def __call__(self, data: Buffer, profile: Profile, numerics: Numerics) -> BoundModel:
        """Return the model of these bytes; statuses 4 to 10."""
        key = hashlib.sha256(data).digest(), numerics
        known = self._known[key] = self._known.pop(key, [])
        if len(self._known) > MOST_MODELS:
            del self._known[next(iter(self._known))]
        for choices, bound in known:
            if all(getattr(profile, name) == value for name, value in choices.items()):
                if isinstance(bound, ContractError):
                    raise bound.with_traceback(None)
                return bound
        noted: dict[str, Any] = {}

        def choose(name: str) -> Any:
            noted[name] = getattr(profile, name)
            return noted[name]

        try:
            bound = bind_model(data, ReadingProfile(profile, choose, noted, _KEYS), numerics)
            bound = bound._replace(transformer=RememberingTransformer(bound.transformer))
        except ContractError as refused:
            known.append((noted, refused.with_traceback(None)))
            raise
        known.append((noted, bound))
        return bound
