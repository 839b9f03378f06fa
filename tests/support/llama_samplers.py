"""Apply samplers of llama.cpp through its Python declarations, and random cases for them."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from refruntime.samplers import llama_cpp_stages as ours
from refruntime.samplers.llama_cpp_chain import LlamaSettings
from refruntime.samplers.stages import Candidates


class Case(NamedTuple):
    """One stage with its numbers on some logits behind a history."""

    stage: str
    logits: np.ndarray
    history: list[int]
    numbers: tuple[float, ...]


STAGES = ("penalties", "dry", "top-n-sigma", "typical", "dynamic temperature", "xtc", "mirostat 1", "mirostat 2")


def random_case(stage: str, seed: int) -> Case:
    """Return a random case of a stage."""
    rng = np.random.default_rng([STAGES.index(stage), seed])
    size = int(rng.integers(8, 80))
    logits = (rng.standard_normal(size) * rng.uniform(0.5, 5)).astype(np.float32)
    history = rng.integers(0, min(size, 5), int(rng.integers(0, 40))).tolist()
    u = rng.uniform
    numbers: dict[str, tuple[float, ...]] = {
        "penalties": (int(rng.integers(0, 50)), u(0.8, 1.6), u(-0.3, 0.8), u(-0.3, 0.8)),
        "dry": (u(0.1, 2), u(0.9, 2.2), int(rng.integers(0, 5)), int(rng.integers(-1, 45))),
        "top-n-sigma": (u(-0.2, 3),),
        "typical": (u(0.05, 1.05),),
        "dynamic temperature": (u(0.1, 2), u(-0.1, 1.5), u(0.3, 3)),
        "xtc": (u(0, 0.6),),
        "mirostat 1": (u(1, 9), int(rng.integers(3, 120))),
        "mirostat 2": (u(0.2, 9),),
    }
    single = tuple(float(np.float32(number)) if isinstance(number, float) else number for number in numbers[stage])
    return Case(stage, logits, history, single)


def by_us(case: Case) -> Candidates:
    """Apply our stage."""
    left, n = Candidates.of(case.logits), case.numbers
    if case.stage == "penalties":
        return ours.penalise(left, case.history, int(n[0]), *n[1:])
    if case.stage == "dry":
        return ours.dry(left, case.history, n[0], n[1], int(n[2]), int(n[3]))
    if case.stage == "top-n-sigma":
        return ours.keep_within_sigmas(left, n[0])
    if case.stage == "typical":
        return ours.keep_typical(left, n[0])
    if case.stage == "dynamic temperature":
        return ours.divide_by_entropy(left, *n)
    if case.stage == "xtc":
        return ours.exclude_top_choices(left, 1.0, n[0], 0.5)
    if case.stage == "mirostat 1":
        return ours.mirostat_1(left, n[0], case.logits.size, int(n[1]))
    return ours.mirostat_2(left, n[0])


def by_llama(llama: Any, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Apply llama.cpp's: ids and logits of what is left, in its order."""
    n = case.numbers
    if case.stage == "penalties":
        sampler = llama.llama_sampler_init_penalties(case.logits.size, int(n[0]), *n[1:])
    elif case.stage == "dry":
        none = (ctypes.c_char_p * 1)()
        sampler = llama.llama_sampler_init_dry(None, n[0], n[1], int(n[2]), int(n[3]), none, 0)
    elif case.stage == "top-n-sigma":
        sampler = llama.llama_sampler_init_top_n_sigma(n[0])
    elif case.stage == "typical":
        sampler = llama.llama_sampler_init_typical(n[0], 0)
    elif case.stage == "dynamic temperature":
        sampler = llama.llama_sampler_init_temp_ext(*n)
    elif case.stage == "xtc":
        sampler = llama.llama_sampler_init_xtc(1.0, n[0], 0, 1)
    elif case.stage == "mirostat 1":  # mu begins at twice tau
        sampler = llama.llama_sampler_init_mirostat(case.logits.size, 1, n[0] / 2, 0.1, int(n[1]))
    else:
        sampler = llama.llama_sampler_init_mirostat_v2(1, n[0] / 2, 0.1)
    return _applied(llama, sampler, case.logits, case.history)


def _applied(llama: Any, sampler: Any, logits: np.ndarray, history: list[int]) -> tuple[np.ndarray, np.ndarray]:
    for token in history:
        llama.llama_sampler_accept(sampler, token)
    data = (llama.llama_token_data * logits.size)()
    for token, logit in enumerate(logits.tolist()):
        data[token].id, data[token].logit, data[token].p = token, logit, 0.0
    left = llama.llama_token_data_array(data=data, size=logits.size, selected=-1, sorted=False)
    llama.llama_sampler_apply(sampler, ctypes.byref(left))
    kept = [left.data[place] for place in range(left.size)]
    llama.llama_sampler_free(sampler)
    return np.array([one.id for one in kept]), np.array([one.logit for one in kept], np.float32)


def random_chain(seed: int) -> tuple[np.ndarray, LlamaSettings, list[int]]:
    """Return logits, settings of a whole chain and a history."""
    rng = np.random.default_rng([99, seed])
    logits = (rng.standard_normal(int(rng.integers(8, 80))) * rng.uniform(0.5, 4)).astype(np.float32)
    u, sigmas = rng.uniform, bool(rng.integers(0, 2))
    settings = LlamaSettings(
        temp=single(u(0.2, 1.6)),
        dynatemp_range=single(u(-0.3, 0.6)),
        top_k=int(rng.integers(0, 60)),
        top_p=single(u(0.5, 1.1)),
        min_p=single(u(-0.05, 0.2)),
        typ_p=1.0 if sigmas else single(u(0.4, 1.2)),  # both together are not defined
        top_n_sigma=single(u(0, 3)) if sigmas else -1.0,
        xtc_probability=float(rng.integers(0, 2)),
        xtc_threshold=single(u(0, 0.6)),
        penalty_repeat=single(u(0.9, 1.4)),
        penalty_freq=single(u(-0.1, 0.4)),
        penalty_present=single(u(-0.1, 0.4)),
        dry_multiplier=single(u(0, 1)),
    )
    return logits, settings, rng.integers(0, 6, int(rng.integers(0, 30))).tolist()


def single(value: float) -> float:
    """Return a number that float32 holds."""
    return float(np.float32(value))


def random_draws(seed: int) -> tuple[list[np.ndarray], LlamaSettings, list[int]]:
    """Return rows of logits for six tokens, settings and a history; every third with Mirostat."""
    logits, settings, history = random_chain(seed)
    rng = np.random.default_rng([7, seed])
    rows = [logits, *((rng.standard_normal(logits.size) * 2).astype(np.float32) for _ in range(5))]
    chance = 0.5 if settings.xtc_probability else 0.0
    settings = replace(settings, xtc_probability=chance, mirostat=seed % 6 if seed % 6 < 3 else 0)
    return rows, settings, history


def drawn_by_llama(llama: Any, rows: list[np.ndarray], s: LlamaSettings, history: list[int], seed: int) -> list[int]:
    """Draw a token behind each row of logits and accept it."""
    if s.mirostat:
        chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        llama.llama_sampler_chain_add(
            chain, llama.llama_sampler_init_temp_ext(s.temp, s.dynatemp_range, s.dynatemp_exponent)
        )
        one = llama.llama_sampler_init_mirostat(rows[0].size, seed, s.mirostat_tau, s.mirostat_eta, 100)
        two = llama.llama_sampler_init_mirostat_v2(seed, s.mirostat_tau, s.mirostat_eta)
        llama.llama_sampler_chain_add(chain, one if s.mirostat == 1 else two)
    else:
        chain = whole_chain(llama, rows[0].size, s, seed)
        llama.llama_sampler_chain_add(chain, llama.llama_sampler_init_dist(seed))
    for token in history:
        llama.llama_sampler_accept(chain, token)
    tokens = []
    for logits in rows:
        data = (llama.llama_token_data * logits.size)()
        for token, logit in enumerate(logits.tolist()):
            data[token].id, data[token].logit, data[token].p = token, logit, 0.0
        left = llama.llama_token_data_array(data=data, size=logits.size, selected=-1, sorted=False)
        llama.llama_sampler_apply(chain, ctypes.byref(left))
        tokens.append(int(left.data[left.selected].id))
        llama.llama_sampler_accept(chain, tokens[-1])
    llama.llama_sampler_free(chain)
    return tokens


def chain_by_llama(
    llama: Any, logits: np.ndarray, s: LlamaSettings, history: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Apply llama.cpp's chain: ids and logits of what is left."""
    return _applied(llama, whole_chain(llama, logits.size, s, 1), logits, history)


def whole_chain(llama: Any, vocabulary: int, s: LlamaSettings, seed: int) -> Any:
    """Return llama.cpp's chain without a draw."""
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    for sampler in (
        llama.llama_sampler_init_penalties(
            vocabulary, s.penalty_last_n, s.penalty_repeat, s.penalty_freq, s.penalty_present
        ),
        llama.llama_sampler_init_dry(
            None, s.dry_multiplier, s.dry_base, s.dry_allowed_length, s.dry_penalty_last_n, (ctypes.c_char_p * 1)(), 0
        ),
        llama.llama_sampler_init_top_n_sigma(s.top_n_sigma),
        llama.llama_sampler_init_top_k(s.top_k),
        llama.llama_sampler_init_typical(s.typ_p, 0),
        llama.llama_sampler_init_top_p(s.top_p, 0),
        llama.llama_sampler_init_min_p(s.min_p, 0),
        llama.llama_sampler_init_xtc(s.xtc_probability, s.xtc_threshold, 0, seed),
        llama.llama_sampler_init_temp_ext(s.temp, s.dynatemp_range, s.dynatemp_exponent),
    ):
        llama.llama_sampler_chain_add(chain, sampler)
    return chain


def possible(ids: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out impossible tokens, whose order an unstable sort decides."""
    kept = logits > -np.inf
    return ids[kept], logits[kept]
