//! The BPE1 merge tokenizer (SL-9, SL-10).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::bytes::Cursor;
use crate::status::Status;
use crate::tokenizer_bytes::{check_head, decode_into, with_specials, BASE_VOCABULARY, BOS};

const NONE: usize = usize::MAX;

pub struct Bpe1Tokenizer {
    tokens: BTreeMap<u32, Vec<u8>>,
    /// (left, right) -> (rank, output)
    merges: BTreeMap<(u32, u32), (u32, u32)>,
}

impl Bpe1Tokenizer {
    /// Parses a whole section; every defect is 6.
    pub fn parse(section: &[u8], vocab_size: u32) -> Result<Self, Status> {
        Self::parse_after_magic(&mut Cursor::new(section, 4), vocab_size).ok_or(Status::InvalidHeader)
    }

    fn parse_after_magic(cursor: &mut Cursor, vocab_size: u32) -> Option<Self> {
        check_head(cursor, vocab_size)?;
        let token_count = cursor.u32()?;
        let merge_count = cursor.u32()?;
        let mut tokens = BTreeMap::new();
        for _ in 0..token_count {
            let id = cursor.u32()?;
            let length = cursor.u32()?;
            let bytes = cursor.take(length as usize)?;
            if id >= vocab_size || bytes.is_empty() || tokens.insert(id, bytes.to_vec()).is_some() {
                return None;
            }
        }
        let mut merges = BTreeMap::new();
        for _ in 0..merge_count {
            let (left, right) = (cursor.u32()?, cursor.u32()?);
            let (output, rank) = (cursor.u32()?, cursor.u32()?);
            let output_exists = output < BOS || tokens.contains_key(&output);
            if left >= vocab_size || right >= vocab_size || output >= vocab_size || !output_exists {
                return None;
            }
            // Of two merges of one pair the lower rank counts, of equal ranks the first.
            let merge = merges.entry((left, right)).or_insert((rank, output));
            if rank < merge.0 {
                *merge = (rank, output);
            }
        }
        if cursor.remaining() > 0 && !cfg!(bug = "bpe1_trailing_bytes_accepted") {
            return None;
        }
        Some(Bpe1Tokenizer { tokens, merges })
    }

    /// BOS, the merged bytes, EOS.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut sequence = Sequence::new(text);
        let mut queue = BinaryHeap::new();
        for left in 0..sequence.ids.len() {
            self.propose(&sequence, left, &mut queue);
        }
        // A proposal is stale when either side has been merged since.
        while let Some(Reverse((_, order, pair, output))) = queue.pop() {
            let left = if cfg!(bug = "bpe_rightmost_first") { NONE - order } else { order };
            if sequence.pair_at(left) == Some(pair) {
                sequence.merge(left, output);
                self.propose(&sequence, sequence.previous[left], &mut queue);
                self.propose(&sequence, left, &mut queue);
            }
        }
        with_specials(sequence.remaining_ids())
    }

    /// Queues the merge of the pair that starts at `left`, lowest rank first, then leftmost.
    fn propose(&self, sequence: &Sequence, left: usize, queue: &mut BinaryHeap<Reverse<Proposal>>) {
        let pair = match sequence.pair_at(left) {
            Some(pair) => pair,
            None => return,
        };
        if let Some(&(rank, output)) = self.merges.get(&pair) {
            let rank = if cfg!(bug = "bpe_ranks_ignored") { 0 } else { rank };
            let order = if cfg!(bug = "bpe_rightmost_first") { NONE - left } else { left };
            queue.push(Reverse((rank, order, pair, output)));
        }
    }

    /// Records win over the implicit bytes; ids without a record decode as in BTOK.
    pub fn decode_into(&self, id: u32, bytes: &mut Vec<u8>) {
        match self.tokens.get(&id) {
            Some(record) if !(BOS..BASE_VOCABULARY).contains(&id) => bytes.extend_from_slice(record),
            _ => decode_into(id, bytes),
        }
    }
}

/// Rank, position of the left part, the pair as it was proposed, output.
type Proposal = (u32, usize, (u32, u32), u32);

/// A doubly linked list of token ids over fixed positions, so that merging costs no copying.
struct Sequence {
    ids: Vec<u32>,
    previous: Vec<usize>,
    next: Vec<usize>,
    alive: Vec<bool>,
}

impl Sequence {
    fn new(text: &str) -> Self {
        let ids: Vec<u32> = text.bytes().map(u32::from).collect();
        let count = ids.len();
        Sequence {
            ids,
            previous: (0..count).map(|index| if index == 0 { NONE } else { index - 1 }).collect(),
            next: (0..count).map(|index| if index + 1 == count { NONE } else { index + 1 }).collect(),
            alive: vec![true; count],
        }
    }

    fn pair_at(&self, left: usize) -> Option<(u32, u32)> {
        if left == NONE || !self.alive[left] || self.next[left] == NONE {
            return None;
        }
        Some((self.ids[left], self.ids[self.next[left]]))
    }

    fn merge(&mut self, left: usize, output: u32) {
        let right = self.next[left];
        self.ids[left] = output;
        self.alive[right] = false;
        self.next[left] = self.next[right];
        if self.next[left] != NONE {
            self.previous[self.next[left]] = left;
        }
    }

    fn remaining_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.ids.iter().zip(&self.alive).filter(|(_, &alive)| alive).map(|(&id, _)| id)
    }
}
