"""Write what was learnt as a contract profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import Profile
from refruntime.identify.fields import dialect_of
from refruntime.identify.identification import Identification


def profile_of(base: Profile, choices: Mapping[str, Any], found: Identification) -> Profile:
    """Return the profile under which the oracle speaks as the build does."""
    places, forms = dialect_of(found.fields)
    changes: dict[str, Any] = {**choices, "diagnostic_names": Dialect((), places, forms).table}
    changes["failure_messages"] = tuple((status.name, text.text) for status, text in found.texts.items())
    if found.features is not None:
        absent = found.features.absent
        changes["containers"] = tuple(name for name in base.containers if name not in absent)
        changes["absent_features"] = tuple(name for name in absent if name not in base.containers)
    return replace(base, **changes)
