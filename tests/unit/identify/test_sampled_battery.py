"""Which sessions of the battery `identify` asks: few enough for half a minute, and of every golden's file one."""

from __future__ import annotations

from refruntime.battery.catalogue import FAMILIES, default_battery
from refruntime.contract.profile import Profile
from refruntime.identify.ask import sampled_battery


def test_a_golden_of_every_file_is_asked() -> None:
    """GG-8, ID-3: what shows in one file alone, such as factors of the rotation, is met."""
    goldens = default_battery(Profile(), {}, ["golden"])
    asked = [case for case in sampled_battery() if case.name.startswith("golden/")]
    assert {data for case in asked for data in case.models.values()} == {
        data for case in goldens for data in case.models.values()
    }
    assert "golden/generate/gguf-rope-factors" in {case.name for case in asked}


def test_less_than_half_of_the_battery_is_asked() -> None:
    """ID-2: a session takes two to four hundredths of a second, and there is a minute for all."""
    whole = default_battery(Profile(), {}, [name for name in FAMILIES if name != "generate"])
    assert len(sampled_battery()) < len(whole) / 2
