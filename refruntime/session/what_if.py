"""What would have been chosen: the same logits again under other sampling values or options of the profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from refruntime.contract.profile import Profile, ProfileError
from refruntime.display import Displayed
from refruntime.keywords import nearest
from refruntime.runtime import Taken
from refruntime.sampling import Choice, SamplingConfig, sample
from refruntime.session.numbers import changed_sampling
from refruntime.tokenizers.base import Tokenizer

SAMPLING: Final = ("temperature", "top_k", "top_p", "seed")
"""Names of the sampling values (SC-2)."""

SAMPLER_RULES: Final = ("SA-", "PR-1", "PR-2", "PR-3")
"""Rules whose options change a single choice."""


@dataclass(frozen=True)
class Alternative:
    """One other way to choose: `label` such as `PR-3 = 53 high bits`, and the choice that it gives."""

    label: str
    choice: Choice
    raw: bytes


@dataclass(frozen=True, repr=False)
class WhatIf(Displayed):
    """What was chosen beside what would have been; `changed` are the alternatives with another token."""

    taken: Taken
    chosen: Alternative
    alternatives: tuple[Alternative, ...]

    @property
    def changed(self) -> tuple[Alternative, ...]:
        """Return the alternatives that give another token than the sampler's."""
        return tuple(each for each in self.alternatives if each.choice.token != self.chosen.choice.token)

    def to_dict(self) -> Mapping[str, Any]:
        """Return the tokens as plain values."""
        rows = [
            {"with": each.label, "token": each.choice.token, "bytes": each.raw.hex(), "changed": each in self.changed}
            for each in self.alternatives
        ]
        return {"token": self.chosen.choice.token, "bytes": self.chosen.raw.hex(), "alternatives": rows}


def what_if(taken: Taken, tokenizer: Tokenizer, profile: Profile, changes: Mapping[str, Any]) -> WhatIf:
    """Choose again from the same logits. Without changes, under every option of the sampler's rules, one at a time.

    A changed seed or generator is advanced by as many draws as were made before this one; a seed changes nothing where
    the profile never brings it to the generator that drew. InvalidLength for a bad
    sampling value, ProfileError for an unknown key or option.
    """

    def alternative(label: str, sampling: SamplingConfig, other: Profile, seed: int | None = None) -> Alternative:
        generator = taken.generator
        reseeds = seed is not None and _begins_with_configured_seed(taken, profile)
        if reseeds or (other.xorshift, other.zero_seed) != (profile.xorshift, profile.zero_seed):
            generator = generator.replaced(other, seed if reseeds else None)
        choice = sample(taken.logits, sampling, generator.state, other)
        return Alternative(label, choice, tokenizer.decode([choice.token]))

    chosen = Alternative("as it was", taken.choice, tokenizer.decode([taken.choice.token]))
    if not changes:
        return WhatIf(
            taken, chosen, tuple(alternative(label, taken.sampling, other) for label, other in _options(profile))
        )
    values = {name: changes[name] for name in SAMPLING if name in changes}
    options = {_rule_key(name): str(value) for name, value in changes.items() if name not in SAMPLING}
    sampling, chosen_options = changed_sampling(taken.sampling, values), _full_options(options)
    other = Profile.from_choices({**profile.choices(), **chosen_options})
    label = ", ".join(f"{name} = {value}" for name, value in {**values, **chosen_options}.items())
    return WhatIf(taken, chosen, (alternative(label, sampling, other, values.get("seed")),))


def _begins_with_configured_seed(taken: Taken, profile: Profile) -> bool:
    """Say whether the generator that drew would have begun with another configured seed (GEN-7, SC-3, PR-4)."""
    if taken.owner == "generate" or profile.sampling_config_reseeds == "yes":
        return True
    reseeding = (profile.generator_on_load, profile.generator_on_reset, profile.generator_on_generate)
    return "reseeded" in reseeding and taken.generator.seed == taken.sampling.seed


def _options(profile: Profile) -> Iterator[tuple[str, Profile]]:
    """Yield every other option of the sampler's rules with the profile that has it."""
    for switch in Profile.switches():
        if not switch.rule.startswith(SAMPLER_RULES):
            continue
        for option in switch.options:
            if option != getattr(profile, switch.attribute):
                yield f"{switch.key} = {option}", Profile.from_choices({**profile.choices(), switch.key: option})


def _rule_key(name: str) -> str:
    """Return a profile key as the contract spells it: `PR_3` is `PR-3`."""
    return name.replace("_", "-", 1) if name[:2].isupper() else name


def _full_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options of profile keys in full; the beginning of one is enough, such as `53`. ProfileError."""
    switches = {switch.key: switch for switch in Profile.switches()}
    full = {}
    for key, option in options.items():
        switch = switches.get(key)
        if switch is None:
            perhaps = nearest(key, [*SAMPLING, *switches])
            raise ProfileError(f"unknown name {key!r}; {perhaps}expected {', '.join(SAMPLING)} or a key such as PR-3")
        fits = [each for each in switch.options if each == option] or [
            each for each in switch.options if each.startswith(option)
        ]
        if len(fits) != 1:
            raise ProfileError(f"{key}: expected one of {', '.join(map(repr, switch.options))}; found {option!r}")
        full[key] = fits[0]
    return full
