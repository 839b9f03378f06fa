"""Name the pre-tokenizers of GGUF files: `tokenizer.ggml.pre` to how text is cut into words (GG-5).

Patterns, aliases and settings are those of llama.cpp's `llama-vocab.cpp` and `unicode.cpp` (llama-cpp-python 0.3.36).
Where llama.cpp has a hand-written splitter instead of a pattern, the pattern here says what that splitter does. Its
`std::regex` knows no cases of letters beyond ASCII, which is why `tekken` and `gpt-4o` ask for `[A-Z]` only.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Final

from refruntime.tokenizers.splitting import Cutter, Splitter, before_threes, groups_of_three


@dataclass(frozen=True)
class PreTokenizer:
    """What a name in `tokenizer.ggml.pre` stands for.

    `ignore_merges`: a word that is a token is that token, whatever the merges say. `add_bos`: BOS is added unless the
    metadata says otherwise; `always_bos`: even then. `has_bos`: there is a BOS token without metadata.
    `raw_bytes`: tokens hold UTF-8 with `▁` for a space, and bytes are spelt `<0xHH>`; else every byte is one character
    of the byte alphabet of GPT-2. `whole_newlines`: a run of line feeds that is a token is that token.
    """

    splitter: Splitter
    ignore_merges: bool = False
    add_bos: bool = False
    always_bos: bool = False
    has_bos: bool = True
    raw_bytes: bool = False
    whole_newlines: bool = False


def _steps(*steps: str | Cutter) -> PreTokenizer:
    return PreTokenizer(Splitter(steps))


# Patterns ------------------------------------------------------------------------------------------------------------

_CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKED_WORD = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_LINES = r"\s*[\r\n]+"
_SPACES = r"\s+(?!\S)|\s+"
_CJK = r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_CJK_AND_MORE = r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_ASCII_SIGN_WORD = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"

_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA_3 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|{_LINES}|{_SPACES}"
_QWEN_2 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}|{_SIGNS}|{_LINES}|{_SPACES}"
_DEEPSEEK_3_WORDS = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
_DEEPSEEK_3 = rf"{_ASCII_SIGN_WORD}|{_DEEPSEEK_3_WORDS}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}|{_SPACES}"
_BLOOM = r" ?[^(\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_LATIN_GREEK_CYRILLIC = (
    r"A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    r"\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    r"\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    r"\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    r"\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    r"\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    r"\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    r"\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    r"\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    r"\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)


def _by_case(upper: str, lower: str, suffix: str, numbers: str) -> str:
    """Return the pattern of GPT-4o: a word is upper case letters before lower case ones, then an optional suffix."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{lead}[{upper}]*[{lower}]+{suffix}|{lead}[{upper}]+[{lower}]*{suffix}|{numbers}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}|{_SPACES}"
    )


_ANY_CASE = r"\p{L}\p{M}"

# Names ---------------------------------------------------------------------------------------------------------------

_LLAMA_3_WORDS = _steps(_LLAMA_3)
_GPT_2_WORDS = _steps(_GPT_2)
_STARCODER_WORDS = _steps(r"\p{N}", _GPT_2)
_QWEN_2_WORDS = _steps(_QWEN_2)
_DEEPSEEK_3_STEPS = _steps(r"\p{N}{1,3}", _CJK, _DEEPSEEK_3)
_GPT_4O_WORDS = _steps(_by_case(r"\p{Upper}", r"\p{Lower}", f"{_CONTRACTION}?", r"\p{N}{1,3}"))
_RAW_LINES = replace(_steps(r"[^\n]+|\n+"), raw_bytes=True)
_GEMMA_4 = replace(_RAW_LINES, always_bos=True, whole_newlines=True)

_GROUPS: Final[tuple[tuple[str, PreTokenizer], ...]] = (
    (
        "default",
        _steps(r"[\p{P}\$\+<=>\^~\|]+", _GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    ),
    (
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        replace(_LLAMA_3_WORDS, ignore_merges=True, add_bos=True),
    ),
    ("dbrx smaug-bpe", _LLAMA_3_WORDS),
    ("chatglm-bpe", replace(_LLAMA_3_WORDS, has_bos=False)),
    ("glm4 glm5", replace(_LLAMA_3_WORDS, has_bos=False, ignore_merges=True)),
    (
        "minicpm5",
        replace(
            _steps(r"\p{N}{1,3}", rf"{_CONTRACTION}|{_WORD}|\p{{N}}+|{_SIGNS}|{_LINES}|{_SPACES}"), ignore_merges=True
        ),
    ),
    (
        "jais-2",
        _steps(
            rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|{_LINES}"
            r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)"
            r"|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
        ),
    ),
    (
        "gpt-2 phi-2 jina-es jina-de gigachat jina-v1-en jina-v2-es jina-v2-de jina-v2-code roberta-bpe a.x-4.0 mellum"
        " modern-bert mpt olmo jais trillion granite-docling exaone4",
        _GPT_2_WORDS,
    ),
    ("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", _STARCODER_WORDS),
    (
        "falcon",
        _steps(r"[\p{P}\$\+<=>\^~\|`]+", _GPT_2, r"[0-9][0-9][0-9]"),
    ),
    (
        "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
        _QWEN_2_WORDS,
    ),
    (
        "qwen35",
        _steps(
            rf"{_CONTRACTION}|{_MARKED_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}|{_SPACES}",
        ),
    ),
    ("ufakzeka", _steps(rf"{_WORD}|\p{{N}}|{_SIGNS}|{_LINES}|{_SPACES}")),
    ("laguna", _steps(r"[^\n]+|\n+", _QWEN_2)),
    (
        "bailingmoe bailingmoe2 llada-moe",
        _steps(rf"{_CONTRACTION}|{_WORD}|\p{{N}}|{_SIGNS}|\s*[\r\n]|{_SPACES}"),
    ),
    (
        "seed-coder",
        _steps(rf"{_CONTRACTION}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_LINES}|{_SPACES}"),
    ),
    (
        "exaone-moe",
        _steps(
            rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|{_SPACES}"
        ),
    ),
    (
        "deepseek-llm",
        _steps(
            r"[\r\n]",
            rf"\s?[{_LATIN_GREEK_CYRILLIC}]+",
            r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
            r"(?<!\s)\s+\Z",  # `\s+$`, which can match only where white space begins; to try elsewhere is quadratic
            _CJK_AND_MORE,
            r"\p{N}+",
        ),
    ),
    ("deepseek-coder", _steps(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_AND_MORE, r"\p{N}")),
    ("deepseek-v3 hunyuan-dense joyai-llm hy_v4", _DEEPSEEK_3_STEPS),
    (
        "spark2_5",
        _steps(
            r"\p{N}{1,3}",
            _CJK,
            rf"{_ASCII_SIGN_WORD}|{_DEEPSEEK_3_WORDS}| ?[\p{{P}}\p{{S}}]+|[\r\n]|{_SPACES}",
            r"\p{N}",
        ),
    ),
    (
        "afmoe",
        _steps(
            groups_of_three,
            r"[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff"
            r"\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+",
            _DEEPSEEK_3,
        ),
    ),
    (
        "youtu",
        replace(
            _steps(
                r"[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
                r"|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                _by_case(_ANY_CASE, _ANY_CASE, f"{_CONTRACTION}?", r"\p{N}"),
            ),
            ignore_merges=True,
        ),
    ),
    (
        "tekken",
        replace(_steps(_by_case(r"\p{Upper}", r"\p{Lower}", "", r"\p{N}")), ignore_merges=True, add_bos=True),
    ),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", _GPT_4O_WORDS),
    (
        "granite-embed-multi-97m",
        replace(
            _steps(_by_case(r"\p{Upper}\p{M}", r"\p{Lower}\p{M}", f"{_CONTRACTION}?", r"\p{N}{1,3}")),
            ignore_merges=True,
        ),
    ),
    (
        "tiny_aya cohere2moe",
        _steps(groups_of_three, _by_case(_ANY_CASE, _ANY_CASE, f"{_CONTRACTION}?", r"\p{N}{1,3}")),
    ),
    (
        "kimi-k2",
        _steps(
            rf"\p{{Han}}+|[^\r\n\p{{L}}\p{{N}}]?\p{{OtherLetter}}+{_CONTRACTION}?|\p{{N}}{{1,3}}|{_SIGNS}|{_LINES}|{_SPACES}"
        ),
    ),
    ("superbpe", _steps(r"\p{N}+", before_threes)),
    ("poro-chat bloom gpt3-finnish", _steps(_BLOOM)),
    ("viking", _steps(_BLOOM, r"\p{N}")),
    (
        "chameleon",
        replace(
            _steps(
                r"<sentinel:[0-9]+>",
                r"IMGIMG[A-I]{1,4}Z",
                r"[\t\n]|    |  ",
                r"\p{N}",
                r"[\p{P}!-/:-@\[-`{-~]",
                _GPT_2,
            ),
            add_bos=True,
        ),
    ),
    ("gemma4 granite-embed-multi-311m", _GEMMA_4),
    ("sarvam-moe", _RAW_LINES),
)

PRE_TOKENIZERS: Final = {name: each for names, each in _GROUPS for name in names.split()}
"""Every name that llama.cpp knows for byte-pair encoding, except `whitespace`, which has a tokenizer of its own."""


def nearest_name(name: str) -> str:
    """Return the known name that is most like an unknown one."""
    return max(sorted(PRE_TOKENIZERS), key=lambda known: difflib.SequenceMatcher(None, known, name.lower()).ratio())
