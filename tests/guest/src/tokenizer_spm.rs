//! SentencePiece-style tokenization as llama.cpp does it: the best-scored adjacent merge first (GG-5, GG-6).

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use crate::status::Status;
use crate::tokenizer_fragments::{fragments, Fragment};

const NONE: usize = usize::MAX;
/// U+2581, which stands for a space inside token texts.
const ESCAPED_SPACE: &[u8] = "\u{2581}".as_bytes();

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

pub struct Token {
    pub text: Vec<u8>,
    pub score: f32,
    pub kind: Kind,
    /// The value of a byte token.
    pub byte: Option<u8>,
    /// White space after an occurrence in the text is dropped.
    pub strips_right: bool,
}

pub struct SpmTokenizer {
    tokens: Vec<Token>,
    /// Token text -> id.
    ids: HashMap<Vec<u8>, u32>,
    /// Tokens that are matched in plain text, longest first.
    user_defined: Vec<u32>,
    pub eos: u32,
    pub stop: Vec<u32>,
    affixes: Affixes,
}

/// What is put around a text.
pub struct Affixes {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// A space before plain text that begins the prompt or follows a user-defined token.
    pub space: bool,
}

impl SpmTokenizer {
    pub fn new(tokens: Vec<Token>, eos: u32, stop: Vec<u32>, affixes: Affixes) -> Self {
        let mut ids = HashMap::new();
        for (id, token) in tokens.iter().enumerate() {
            ids.insert(token.text.clone(), id as u32);
        }
        let matched = |id: &u32| {
            let kind = tokens[*id as usize].kind;
            kind == Kind::UserDefined || (cfg!(bug = "control_tokens_matched") && kind == Kind::Control)
        };
        let mut user_defined: Vec<u32> = (0..tokens.len() as u32).filter(matched).collect();
        user_defined.sort_by_key(|&id| std::cmp::Reverse(tokens[id as usize].text.len()));
        SpmTokenizer { tokens, ids, user_defined, eos, stop, affixes }
    }

    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Encodes plain text; a byte that the vocabulary cannot express gives 13.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Status> {
        let mut output = Vec::new();
        if !cfg!(bug = "bos_missing") {
            output.extend(self.affixes.bos);
        }
        let mut after_special = true;
        for fragment in fragments(text.as_bytes(), &self.user_defined, &self.tokens) {
            match fragment {
                Fragment::Special(id) => output.push(id),
                Fragment::Plain(plain) => {
                    let prefixed = self.affixes.space && after_special && !cfg!(bug = "space_prefix_missing");
                    self.encode_plain(&escape_spaces(plain, prefixed), &mut output)?;
                }
            }
            after_special = matches!(fragment, Fragment::Special(_));
        }
        output.extend(self.affixes.eos);
        Ok(output)
    }

    /// Appends the bytes of a token: control, unknown and unused tokens stand for nothing.
    pub fn decode_into(&self, id: u32, bytes: &mut Vec<u8>) {
        let token = &self.tokens[id as usize];
        match token.kind {
            Kind::Normal => {
                let start = bytes.len();
                unescape_spaces(&token.text, bytes);
                if cfg!(bug = "leading_space_stripped") && start == 0 && bytes.first() == Some(&b' ') {
                    bytes.remove(0);
                }
            }
            Kind::UserDefined => bytes.extend_from_slice(&token.text),
            Kind::Byte => bytes.extend(token.byte),
            Kind::Control | Kind::Unknown | Kind::Unused => {}
        }
    }

    /// Merges characters greedily by score and falls back to bytes.
    fn encode_plain(&self, text: &[u8], output: &mut Vec<u32>) -> Result<(), Status> {
        let mut symbols = split_characters(text);
        let mut queue = BinaryHeap::new();
        for left in 0..symbols.len() {
            self.propose(text, &symbols, left, &mut queue);
        }
        while let Some(bigram) = queue.pop() {
            let (left, right) = (bigram.left, bigram.right);
            // Either side may have been merged since this was proposed.
            let current = symbols[left].length > 0 && symbols[right].length > 0;
            if !current || symbols[left].length + symbols[right].length != bigram.length {
                continue;
            }
            symbols[left].length = bigram.length;
            symbols[right].length = 0;
            symbols[left].next = symbols[right].next;
            if let Some(next) = symbols.get(symbols[left].next).map(|_| symbols[left].next) {
                symbols[next].previous = left;
            }
            self.propose(text, &symbols, symbols[left].previous, &mut queue);
            self.propose(text, &symbols, left, &mut queue);
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            self.push_symbol(&text[symbol.start..symbol.start + symbol.length], output)?;
        }
        Ok(())
    }

    /// Queues the pair that starts at `left` if its text is a token.
    fn propose(&self, text: &[u8], symbols: &[Symbol], left: usize, queue: &mut BinaryHeap<Bigram>) {
        let right = match symbols.get(left) {
            Some(symbol) if symbol.next != NONE => symbol.next,
            _ => return,
        };
        let start = symbols[left].start;
        let length = symbols[left].length + symbols[right].length;
        if let Some(&id) = self.ids.get(&text[start..start + length]) {
            queue.push(Bigram { score: self.tokens[id as usize].score, left, right, length });
        }
    }

    /// Appends the token of a symbol, or one byte token per byte.
    fn push_symbol(&self, symbol: &[u8], output: &mut Vec<u32>) -> Result<(), Status> {
        if let Some(&id) = self.ids.get(symbol) {
            output.push(id);
            return Ok(());
        }
        if cfg!(bug = "byte_fallback_missing") {
            output.push(0);
            return Ok(());
        }
        for &byte in symbol {
            let named = self.ids.get(format!("<0x{byte:02X}>").as_bytes());
            let id = named.or_else(|| self.ids.get([byte].as_slice()));
            output.push(*id.ok_or(Status::GenerationFailed)?);
        }
        Ok(())
    }
}

fn escape_spaces(plain: &[u8], prefixed: bool) -> Vec<u8> {
    let mut escaped = Vec::new();
    if prefixed {
        escaped.extend_from_slice(ESCAPED_SPACE);
    }
    for &byte in plain {
        match byte {
            b' ' => escaped.extend_from_slice(ESCAPED_SPACE),
            _ => escaped.push(byte),
        }
    }
    escaped
}

fn unescape_spaces(mut text: &[u8], bytes: &mut Vec<u8>) {
    while let Some(&byte) = text.first() {
        if let Some(rest) = text.strip_prefix(ESCAPED_SPACE) {
            bytes.push(b' ');
            text = rest;
        } else {
            bytes.push(byte);
            text = &text[1..];
        }
    }
}

/// A run of text; merged-away symbols have length 0.
struct Symbol {
    start: usize,
    length: usize,
    previous: usize,
    next: usize,
}

/// One symbol per UTF-8 character.
fn split_characters(text: &[u8]) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let length = match text[start] {
            0x00..=0xBF => 1,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            _ => 4,
        };
        let length = length.min(text.len() - start);
        let index = symbols.len();
        let previous = if index == 0 { NONE } else { index - 1 };
        symbols.push(Symbol { start, length, previous, next: index + 1 });
        start += length;
    }
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    symbols
}

/// A proposed merge: the highest score wins, of equal scores the leftmost.
struct Bigram {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Bigram {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal);
        let by_score = if cfg!(bug = "spm_lowest_score_first") { by_score.reverse() } else { by_score };
        by_score.then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Bigram {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bigram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bigram {}
