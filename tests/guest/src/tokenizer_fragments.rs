//! Cutting a prompt at the tokens that are matched in plain text (GG-5).

use crate::tokenizer_spm::Token;

/// A stretch of the prompt: plain text, or a user-defined token that was found in it.
pub enum Fragment<'a> {
    Plain(&'a [u8]),
    Special(u32),
}

/// Splits text at user-defined tokens, the longest token first over the whole text.
pub fn fragments<'a>(text: &'a [u8], matched: &[u32], tokens: &[Token]) -> Vec<Fragment<'a>> {
    let mut fragments = Vec::new();
    if !text.is_empty() {
        fragments.push(Fragment::Plain(text));
    }
    for &id in matched {
        let token = &tokens[id as usize];
        let mut split = Vec::new();
        for fragment in fragments {
            match fragment {
                Fragment::Plain(plain) => split_at_token(plain, id, token, &mut split),
                special => split.push(special),
            }
        }
        fragments = split;
    }
    fragments
}

/// Appends the fragments of `plain` around every occurrence of one token.
fn split_at_token<'a>(mut plain: &'a [u8], id: u32, token: &Token, split: &mut Vec<Fragment<'a>>) {
    while let Some(at) = find(plain, &token.text) {
        if at > 0 {
            split.push(Fragment::Plain(&plain[..at]));
        }
        split.push(Fragment::Special(id));
        plain = &plain[at + token.text.len()..];
        if token.strips_right {
            let spaces = plain.iter().take_while(|byte| is_c_space(**byte)).count();
            plain = &plain[spaces..];
        }
    }
    if !plain.is_empty() {
        split.push(Fragment::Plain(plain));
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn is_c_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r')
}
