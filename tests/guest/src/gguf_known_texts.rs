//! Tokens that are known by their text, as llama.cpp 0.5.0 knows them (GG-5, GG-6; lists read in November 2026).

/// A token with such a text ends a generation, and is a control token whatever type the file gives it.
pub const ENDS: [&str; 22] = [
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<turn|>",
    "<|end|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<|return|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|tool_response>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
];

/// Texts that are matched and shown whatever type the file gives them.
pub const ALWAYS_SHOWN: [&str; 4] = ["<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"];

/// A part of a fill-in-the-middle prompt: the metadata keys that name its token (of two the later counts), and the
/// texts by which it is found where none does.
pub struct Role {
    pub keys: &'static [&'static str],
    pub texts: &'static [&'static str],
    pub ends_generation: bool,
}

pub const ROLES: [Role; 6] = [
    Role {
        keys: &["fim_pre_token_id", "prefix_token_id"],
        texts: &[
            "<PRE>",
            "▁<PRE>",
            "<|prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<|fim_prefix|>",
            "<|code_prefix|>",
            "<｜fim▁begin｜>",
        ],
        ends_generation: false,
    },
    Role {
        keys: &["fim_suf_token_id", "suffix_token_id"],
        texts: &[
            "<SUF>",
            "▁<SUF>",
            "<|suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<|fim_suffix|>",
            "<|code_suffix|>",
            "<｜fim▁hole｜>",
        ],
        ends_generation: false,
    },
    Role {
        keys: &["fim_mid_token_id", "middle_token_id"],
        texts: &[
            "<MID>",
            "▁<MID>",
            "<|middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<|fim_middle|>",
            "<|code_middle|>",
            "<｜fim▁end｜>",
        ],
        ends_generation: false,
    },
    Role {
        keys: &["fim_pad_token_id"],
        texts: &["<PAD>", "[PAD]", "<fim-pad>", "<fim_pad>", "<|fim_pad|>"],
        ends_generation: true,
    },
    Role {
        keys: &["fim_rep_token_id"],
        texts: &["<REPO>", "<reponame>", "<fim-repo>", "<|fim_repo|>", "<|repo_name|>"],
        ends_generation: true,
    },
    Role { keys: &["fim_sep_token_id"], texts: &["<|file_sep|>"], ends_generation: true },
];
