"""Every option of every switch of the profile changes what a host sees, in the way that the contract says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import pytest

from refruntime import Profile
from refruntime.contract.profile import WHERE_GIVEN
from tests.contract.architecture_models import (
    gpt_oss_within_yarn,
    gptneox_at_two,
    lfm2moe_with_a_tiny_share,
    llama_that_says_end_for_ever,
    phi3_with_window,
)
from tests.contract.host import Host
from tests.contract.models import follow, quantized_model, story_model, table_model
from tests.second_opinion.sampler_reference import f32, outputs, unit
from tests.support.gguf_by_hand import llama_file
from tests.support.slm1_by_hand import (
    Q8_0,
    build,
    fix_checksum,
    model_tensors,
    naive_checksum,
    patch_entry,
    patch_header,
)

EITHER = table_model({}, otherwise={ord("0"): 0.0, ord("1"): 0.0}, capacity=64)
"""Every token is followed by `0` or `1` with equal logits."""

SEED = 0xC0FFEE1234567


def coins(outputs_: list[int]) -> bytes:
    """Return what draws between `0` and `1` give: a coin below one half takes the lower id."""
    return b"".join(b"0" if unit(output) < 0.5 else b"1" for output in outputs_)


def drawn(host: Host, temperature: float, top_k: int, top_p: float, seed: int, count: int) -> bytes:
    assert host.abi.set_sampling_config(temperature, top_k, top_p, seed) == 0
    assert host.generate(b"?", count) == 0
    return host.result


def continued(host: Host, count: int) -> bytes:
    text = b""
    for _ in range(count):
        assert host.abi.generate_next_token() == 0
        text += host.result
    return text


def seed_of(output: int) -> int:
    """Return the seed whose first output is this, undoing the shifts 17, 7, 13 of the generator."""
    mask = 2**64 - 1

    def undo_left(y: int, bits: int) -> int:
        x = y
        for _ in range(64):
            x = y ^ (x << bits & mask)
        return x

    def undo_right(y: int, bits: int) -> int:
        x = y
        for _ in range(64):
            x = y ^ (x >> bits)
        return x

    seed = undo_left(undo_right(undo_left(output, 17), 7), 13)
    assert outputs(seed, 1) == [output]
    return seed


def after_failed_call(profile: Profile) -> bytes:
    host = Host(profile, model=story_model())
    assert host.generate(b"a", 0) == 2
    return host.result


def model_after_init(profile: Profile) -> bool:
    host = Host(profile, model=story_model())
    assert host.abi.init_runtime() == 0
    loaded: bool = host.diagnostics["model_loaded"]
    return loaded


def after_reset(profile: Profile) -> bytes:
    host = Host(profile, model=story_model())
    assert host.abi.reset_context() == 0
    return host.result


def continuation_after_configuration(profile: Profile) -> bytes:
    host = Host(profile, model=EITHER)
    drawn(host, 1.0, 2, 1.0, SEED, 1)
    return continued(host, 30)


def status_of_invalid_output(profile: Profile) -> tuple[int, str]:
    host = Host(profile, model=story_model())
    return host.generate(b"x", 1), host.result.decode()


def status_without_context(profile: Profile) -> int:
    return Host(profile, model=story_model()).abi.generate_next_token()


def result_of_continuation(profile: Profile) -> bytes:
    host = Host(profile, model=story_model())
    assert host.generate(b"a", 1) == 0
    assert host.abi.generate_next_token() == 0
    return host.result


def best_of_equals(profile: Profile) -> tuple[bytes, list[int]]:
    host = Host(profile, model=table_model({}, otherwise={ord("0"): 1.0, ord("1"): 1.0, ord("2"): 1.0}))
    text = drawn(host, 1.0, 1, 1.0, SEED, 1)
    return text, [token for token, _ in host.diagnostics["top_tokens"][:3]]


def draws_at_subnormal_temperature(profile: Profile) -> bytes:
    """1 / 1e-40 is infinite, and infinite times the distance 0 is NaN: greedy. The quotient 0 / 1e-40 is 0: a draw."""
    return drawn(Host(profile, model=EITHER), 1e-40, 2, 1.0, SEED, 30)


def draws_with_half_the_mass(profile: Profile) -> bytes:
    model = table_model({}, otherwise=dict.fromkeys(b"0123", 0.0), capacity=64)
    return drawn(Host(profile, model=model), 1.0, 4, 0.5, SEED, 30)


def draws_below_one_tenth(profile: Profile) -> bytes:
    """One of ten equal weights is a tenth of 10; ten times 0.1 is more than 1, and a tenth of that takes two."""
    model = table_model({}, otherwise=dict.fromkeys(b"0123456789", 0.0), capacity=64)
    return drawn(Host(profile, model=model), 1.0, 10, 0.1, SEED, 30)


def best_of_two_close_ones(profile: Profile) -> bytes:
    """Divided by 1.9 both logits are 1.0526315: then they are equal, and the lower id comes first."""
    close = {ord("0"): 2 - 2.0**-22, ord("1"): 2 - 2.0**-23}
    return drawn(Host(profile, model=table_model({}, otherwise=close)), 1.9, 1, 1.0, SEED, 1)


def draw_on_the_edge(profile: Profile) -> bytes:
    return drawn(Host(profile, model=EITHER), 1.0, 2, 1.0, seed_of(2**63), 1)


def draws(profile: Profile) -> bytes:
    return drawn(Host(profile, model=EITHER), 1.0, 2, 1.0, SEED, 40)


def draws_from_seed_zero(profile: Profile) -> bytes:
    return drawn(Host(profile, model=EITHER), 1.0, 2, 1.0, 0, 40)


def draws_near_one_half(profile: Profile) -> bytes:
    host = Host(profile, model=EITHER)
    return b"".join(drawn(host, 1.0, 2, 1.0, seed_of(output), 1) for output in (2**63 - 1, 2**63 - 2**38 - 1))


def continuation_after(between: Callable[[Host], int]) -> Callable[[Profile], bytes]:
    def observe(profile: Profile) -> bytes:
        host = Host(profile, model=EITHER)
        drawn(host, 1.0, 2, 1.0, SEED, 1)
        continued(host, 5)
        assert between(host) == 0
        if host.diagnostics["kv_length"] == 0:
            # The default profile's generate leaves the generator alone; these scenarios change one option only.
            assert host.generate(b"?", 1) == 0
        return continued(host, 25)

    return observe


QUANTIZED_INPUT = (1.0, f32(1 / 3), f32(0.001), f32(0.001))


def quantized_logit(profile: Profile) -> float:
    model = quantized_model({ord("a"): 3}, {ord("a"): f32(0.1)}, QUANTIZED_INPUT)
    host = Host(profile, model=model)
    assert host.generate(b"?", 1) == 0
    token, logit = host.diagnostics["top_tokens"][0]
    assert token == ord("a")
    return f32(logit)


def quantized_sums(value: int, scale: float) -> dict[str, float]:
    """Work out the three products of FW-4 for one row, one rounding after every operation."""
    first, second, plain = 0.0, 0.0, 0.0
    for x in QUANTIZED_INPUT:
        first = f32(first + f32(f32(value * scale) * x))
        second = f32(second + f32(f32(value * x) * scale))
        plain = f32(plain + f32(value * x))
    return {"(q*scale)*x": first, "(q*x)*scale": second, "sum times scale": f32(plain * scale)}


ORDERS = ("mix, rotate, multiply", "mix, multiply, rotate", "rotate, mix, multiply")


def file_with_checksum(**how: Any) -> bytes:
    file = build()
    patch_header(file, {"checksum": 0})
    return bytes(patch_header(file, {"checksum": naive_checksum(bytes(file), **how)}))


def loads(*files: bytes) -> Callable[[Profile], tuple[int, ...]]:
    return lambda profile: tuple(Host(profile).load(file) for file in files)


def answer_of(file: bytes) -> Callable[[Profile], bytes]:
    def answer(profile: Profile) -> bytes:
        host = Host(profile, model=file)
        assert host.generate(b"hi", 1) == 0
        return host.result

    return answer


def with_header(**fields: float) -> bytes:
    return bytes(fix_checksum(patch_header(build(), fields)))


def scales_past_the_end() -> bytes:
    file = build(model_tensors(Q8_0))
    return bytes(fix_checksum(patch_entry(file, "output.weight", scale_offset=len(file) - 4)))


def generated_tokens(profile: Profile) -> int:
    host = Host(profile, model=llama_that_says_end_for_ever())
    assert host.generate(b"hi", 3) == 0
    count: int = host.diagnostics["generated_tokens"]
    return count


def texts_of_failures(profile: Profile) -> list[tuple[bytes, str | None]]:
    host = Host(profile, model=story_model())
    seen = []
    for prompt, count in ((b"a", 0), (b"\xff", 1)):
        assert host.generate(prompt, count) in (2, 3)
        seen.append((host.result, host.diagnostics["last_error"]))
    return seen


@dataclass(frozen=True)
class Scenario:
    """What a host does and sees, and what it must see under each option or value."""

    observe: Callable[[Profile], object]
    expected: dict[Any, object]


SWITCHES: dict[str, Scenario] = {
    "ERR-4": Scenario(after_failed_call, {"message": b"invalid length", "empty": b"", "unchanged": b"model loaded"}),
    "ST-2": Scenario(model_after_init, {"no-op": True, "recreate": False}),
    "ST-5": Scenario(after_reset, {"empty": b"", "unchanged": b"model loaded"}),
    "SC-3": Scenario(continuation_after_configuration, {"yes": coins(outputs(SEED, 30)), "no": coins(outputs(1, 30))}),
    "GEN-9": Scenario(
        status_of_invalid_output,
        {"3": (3, "invalid utf-8"), "13": (13, "generation failed"), "lossy": (0, "\ufffd")},
    ),
    "NT-2": Scenario(status_without_context, {"13": 13, "2": 2, "11": 11}),
    "NT-6": Scenario(result_of_continuation, {"token": b"c", "all generated text": b"bc"}),
    "SA-2": Scenario(best_of_equals, {"lower id first": (b"0", [48, 49, 50]), "higher id first": (b"2", [50, 49, 48])}),
    "SA-3.order": Scenario(best_of_two_close_ones, {"selection first": b"1", "temperature first": b"0"}),
    "SA-4": Scenario(draws_below_one_tenth, {"as they are": b"0" * 30, "normalised": coins(outputs(SEED, 30))}),
    "SA-3.scaling": Scenario(
        draws_at_subnormal_temperature,
        {"divide": coins(outputs(SEED, 30)), "multiply by the f32 reciprocal": b"0" * 30},
    ),
    "SA-5.comparison": Scenario(
        draws_with_half_the_mass,
        {
            ">=": coins(outputs(SEED, 30)),
            ">": bytes(b"012"[int(3 * unit(output))] for output in outputs(SEED, 30)),
        },
    ),
    "SA-5.crossing": Scenario(
        draws_with_half_the_mass,
        {"keep crossing": coins(outputs(SEED, 30)), "drop crossing but keep one": b"0" * 30},
    ),
    "SA-6": Scenario(draw_on_the_edge, {"<": b"1", "<=": b"0"}),
    "PR-1": Scenario(
        draws,
        {name: coins(outputs(SEED, 40, name)) for name in ("13,7,17", "7,9,8", "12,25,27 times 0x2545F4914F6CDD1D")},
    ),
    "PR-2": Scenario(
        draws_from_seed_zero,
        {
            name: coins(outputs(int(name, 0), 40))
            for name in ("0x9E3779B97F4A7C15", "1", "0x2545F4914F6CDD1D", "88172645463325252")
        },
    ),
    "PR-3": Scenario(draws_near_one_half, {"24 high bits": b"00", "53 high bits": b"10", "output / 2^64": b"11"}),
    "PR-4.load": Scenario(
        continuation_after(lambda host: host.load(EITHER)),
        {"untouched": coins(outputs(SEED, 30)[5:]), "reseeded": coins(outputs(SEED, 25))},
    ),
    "PR-4.reset": Scenario(
        continuation_after(lambda host: host.abi.reset_context()),
        {"untouched": coins(outputs(SEED, 30)[5:]), "reseeded": coins(outputs(SEED, 25))},
    ),
    "PR-4.generate": Scenario(
        continuation_after(lambda host: host.generate(b"?", 2)),
        {"untouched": coins(outputs(SEED, 30)[5:]), "reseeded": coins(outputs(SEED, 25))},
    ),
    "FW-4": Scenario(quantized_logit, dict(quantized_sums(3, f32(0.1)))),
    "SL-1.heads": Scenario(loads(with_header(head_count=3)), {"6": (6,), "9": (9,)}),
    "SL-1.kv-heads": Scenario(loads(with_header(kv_head_count=3)), {"9": (9,), "6": (6,)}),
    "SL-1.constants": Scenario(
        loads(with_header(rope_theta=-1.0), with_header(rms_norm_epsilon=0.0)),
        {"finite and positive": (6, 6), "not checked": (0, 0)},
    ),
    "SL-1.data-offset": Scenario(loads(with_header(tensor_data_offset=2**20)), {"6": (6,), "not checked": (0,)}),
    "SL-6": Scenario(loads(scales_past_the_end()), {"9": (9,), "7": (7,)}),
    "CL-statuses": Scenario(
        loads(with_header(max_context=2**29)), {status: (int(status),) for status in ("6", "2", "9", "13")}
    ),
    "GG-6": Scenario(generated_tokens, {"as llama.cpp": 0, "metadata ids only": 3}),
    "SL-5.verify": Scenario(loads(bytes(build(checksum=1))), {"verified": (6,), "not verified": (0,)}),
    "GG-12.phi3-window": Scenario(answer_of(phi3_with_window()), {"ignored": b"h", "applied": b"i"}),
    "GG-12.gptneox-gelu": Scenario(answer_of(gptneox_at_two()), {"tanh": b"h", "erf": b"i"}),
    "GG-15.gpt-oss-yarn-range": Scenario(answer_of(gpt_oss_within_yarn()), {"whole pairs": b"h", "exact": b"i"}),
    "GG-15.lfm2moe-share-sum": Scenario(
        answer_of(lfm2moe_with_a_tiny_share()), {"at least 2^-14": b"h", "plus 1e-6": b"i"}
    ),
}

VALUES: dict[str, Scenario] = {
    "SL-5.order": Scenario(
        loads(*(file_with_checksum(order=order) for order in ORDERS)),
        dict(zip(ORDERS, [(0, 6, 6), (6, 0, 6), (6, 6, 0)], strict=True)),
    ),
    "ERR-3": Scenario(
        texts_of_failures,
        {
            (): [(b"invalid length", "invalid length"), (b"invalid utf-8", "invalid utf-8")],
            (("InvalidLength", "bad \u2028 length"),): [
                ("bad \u2028 length".encode(), "bad \u2028 length"),
                (b"invalid utf-8", "invalid utf-8"),
            ],
        },
    ),
    "SL-5.start": Scenario(
        loads(file_with_checksum(), file_with_checksum(start=99)), {0xCBF29CE484222325: (0, 6), 99: (6, 0)}
    ),
    "SL-5.rotation": Scenario(
        loads(*(file_with_checksum(rotation=rotation) for rotation in (5, 0, 27, 63))),
        {5: (0, 6, 6, 6), 0: (6, 0, 6, 6), 27: (6, 6, 0, 6), 63: (6, 6, 6, 0)},
    ),
    "GG-1": Scenario(
        loads(bytes(build()), llama_file()), {("slm1", "gguf"): (0, 0), ("slm1",): (0, 4), ("gguf",): (4, 0)}
    ),
    "GG-7": Scenario(
        lambda profile: capacity_of_gguf(profile),
        {2048: (4 * (10 * 8 + 3 * 12 + 96), True), 22: (4 * (10 * 8 + 3 * 12 + 22), False)},
    ),
    "DG-3": Scenario(
        lambda profile: list(Host(profile).diagnostics)[:3],
        {
            (): ["model_load_ms", "prompt_tokens", "generated_tokens"],
            (("prompt_tokens", "prefilled"),): ["model_load_ms", "prefilled", "generated_tokens"],
        },
    ),
}


def capacity_of_gguf(profile: Profile) -> tuple[int, bool]:
    """Return the reported scratch size, which holds the capacity, and whether a prompt of 22 tokens fits."""
    host = Host(profile, model=llama_file())
    scratch: int = host.diagnostics["peak_scratch_bytes"]
    return scratch, host.generate(b"hi" * 21, 1) != 11


SWITCH_CASES = [(switch.key, option) for switch in Profile.switches() for option in switch.options]
VALUE_FIELDS = {
    item.metadata["key"]: item.name
    for item in fields(Profile)
    if "options" not in item.metadata and item.metadata["key"] not in WHERE_GIVEN  # these say what a build lacks
}


@pytest.mark.parametrize(("key", "option"), SWITCH_CASES)
def test_every_option_is_seen_by_a_host(key: str, option: str) -> None:
    """ERR-4, ST-2, ST-5, SC-3, GEN-9, NT-2, NT-6, SA-2 to PR-4, FW-4, SL-1, SL-5, SL-6, CL-statuses, GG-6 to GG-15."""
    (attribute,) = [switch.attribute for switch in Profile.switches() if switch.key == key]
    choice: dict[str, Any] = {attribute: option}
    scenario = SWITCHES[key]  # a new switch needs a scenario here
    assert scenario.observe(Profile(**choice)) == scenario.expected[option]


@pytest.mark.parametrize("key", VALUE_FIELDS)
def test_every_value_is_seen_by_a_host(key: str) -> None:
    """ERR-3, SL-5, GG-1, GG-7, DG-3: fields that take a value change what a host sees."""
    scenario = VALUES[key]  # a new field needs a scenario here
    for value, expected in scenario.expected.items():
        assert scenario.observe(Profile(**{VALUE_FIELDS[key]: value})) == expected, value


@pytest.mark.parametrize("key", [*SWITCHES, *VALUES])
def test_scenarios_tell_the_options_apart(key: str) -> None:
    """ERR-4 to SL-5: each scenario knows every option of its switch, and no two options look alike to it."""
    expected = (SWITCHES | VALUES)[key].expected
    seen = [repr(value) for value in expected.values()]
    assert len(set(seen)) == len(seen) > 1
    switches = {switch.key: switch for switch in Profile.switches()}
    if key in switches:
        assert tuple(expected) == switches[key].options
        default = getattr(Profile(), switches[key].attribute)
        assert default == switches[key].options[0]
    else:
        assert getattr(Profile(), VALUE_FIELDS[key]) == next(iter(expected))


def test_renamed_keys_reach_the_reader() -> None:
    """DG-3: a renamed key reaches every reader of the document, here the test host's own."""
    host = Host(Profile(diagnostic_names=(("kv_length", "kv"),)), model=table_model(follow(ord("a"), ord("b"))))
    assert host.generate(b"a", 1) == 0
    assert host.diagnostics["kv"] == 3
    assert "kv_length" not in host.diagnostics
