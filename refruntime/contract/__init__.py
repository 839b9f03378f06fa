"""The contract as data: exports, status codes, limits, rules and profiles."""

from __future__ import annotations

from refruntime.contract.exports import EXPORTS, EXPORTS_BY_NAME, Export
from refruntime.contract.profile import CONTRACT_VERSION, DIAGNOSTIC_NAMES, Profile, ProfileError, Switch
from refruntime.contract.status import Status

__all__ = [
    "CONTRACT_VERSION",
    "DIAGNOSTIC_NAMES",
    "EXPORTS",
    "EXPORTS_BY_NAME",
    "Export",
    "Profile",
    "ProfileError",
    "Status",
    "Switch",
]
